"""Settings of ``django_service`` for those that look for a module of them."""

ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "django_service"
SECRET_KEY = "of no use"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
