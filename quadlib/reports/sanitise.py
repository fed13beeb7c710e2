"""HTML from notebooks made harmless: a label such as `<script>` or `<img onerror>` must never run
on the page of a reader.
"""

from __future__ import annotations

import re

import nh3

TEXT_TAGS = set(
    """
    a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure
    h1 h2 h3 h4 h5 h6 hr i ins kbd li mark ol p pre q s samp section small span strong sub summary
    sup table tbody td tfoot th thead time tr u ul var wbr
    """.split()  # noqa: SIM905 - a word a line would take a page
)
STYLES = set(
    """
    background-color border border-bottom border-left border-radius border-top color display flex
    flex-wrap font-family font-size font-style font-variant-numeric font-weight gap
    grid-template-columns height left line-height margin margin-bottom margin-left margin-right
    margin-top max-width min-width opacity overflow-x padding padding-left text-align
    text-decoration vertical-align white-space width
    """.split()  # noqa: SIM905 - a word a line would take a page
)
PLAYER_TAGS = {"button", "input", "output"}  # of a recording; the page lets no form send anything
MEDIA_TAGS = {"img": "image", "audio": "audio", "video": "video"}
ATTRIBUTES = {
    "*": {"class", "title", "lang", "dir", "style", "role", "aria-label", "aria-hidden"},
    "a": {"href"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "ol": {"start"},
    "details": {"open"},
    "time": {"datetime"},
    **{tag: {"src", "alt", "width", "height", "controls"} for tag in MEDIA_TAGS},
    "audio": {"src", "controls", "preload", "data-start"},
    "div": {"data-start", "data-end"},
    "p": {"hidden"},
    "button": {"type"},
    "input": {"type", "min", "max", "step", "value"},
}
DROPPED_WITH_CONTENT = {
    "script",
    "style",
    "template",
    "noscript",
    "textarea",
    "title",
    "iframe",
    "object",
    "svg",
    "math",
}


def sanitise(html: str) -> str:
    """The fragment with known harmless tags, attributes and styles only; scripts and style sheets
    go with their content.

    Pictures and sound stay when they are inside the page (`data:` addresses of their own kind);
    nothing is loaded from elsewhere.
    """
    clean = nh3.clean(
        html,
        tags=TEXT_TAGS | PLAYER_TAGS | set(MEDIA_TAGS),
        clean_content_tags=DROPPED_WITH_CONTENT,
        attributes=ATTRIBUTES,
        attribute_filter=_checked,
        url_schemes={"http", "https", "mailto", "data"},
        filter_style_properties=STYLES,
        link_rel="noopener noreferrer",
    )
    return re.sub(r"<img(?![^>]*\ssrc=)[^>]*>", "", clean)


def _checked(tag: str, name: str, value: str) -> str | None:
    """The value of an attribute, or None where it would load something from elsewhere or leave the
    page for a `data:` address.
    """
    if name == "src":
        return (
            value if re.match(rf"data:{MEDIA_TAGS[tag]}/(?!svg)[\w.+-]+;base64,", value) else None
        )
    if name == "href" and re.match(r"\s*data:", value, re.IGNORECASE):
        return None
    return value
