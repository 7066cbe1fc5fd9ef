def template(text: str) -> str:
    """Return ``text`` with its variable parts replaced by placeholders.

    Of a longer text the first `MESSAGE_BYTES_MAX` UTF-8 bytes are read, up to the last white
    space among them; a template is never longer than that either. Where something was left out,
    the template ends with ``<cut>``. Lone surrogates become U+FFFD. ``template(template(text))``
    is ``template(text)``.

    >>> template("[Errno 111] connect to 10.0.0.7:5432 failed after 2.5s: '/run/db.sock'")
    '[Errno <num>] connect to <ip> failed after <num>s: <str>'

    Raises:
        TypeError: ``text`` is not a str.
    """
