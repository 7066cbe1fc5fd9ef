"""The application of the module that SERVICE names, in a process that sentry-sdk watches too.

sentry-sdk reads its DSN from SENTRY_DSN; without one it is not asked.
"""

import importlib
import os

if os.environ.get("SENTRY_DSN"):
    import sentry_sdk

    sentry_sdk.init(traces_sample_rate=1.0)

if os.environ["SERVICE"] == "django_service":
    import django

    django.setup()

application = importlib.import_module(os.environ["SERVICE"]).application
