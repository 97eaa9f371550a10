"""Where our components differ from PatternFly's markup on purpose, and why."""

from typing import Final

from portal.reference_blocks import Deviation


def _of(name: str, tag: str = "*") -> str:
    """XPath of elements with this class."""
    return f"//{tag}[contains(concat(' ', @class, ' '), ' {name} ')]"


# Changed in this order. `examples` are a component, or one state of it, or all: "*".
DEVIATIONS: Final = (
    # Ours
    Deviation("*", "//input[@name='csrf_token']", "every form that posts has a token", is_removed=True),
    Deviation("button.copies", "//p", "the text to be copied, which is not the button's", is_removed=True),
    Deviation("form.one_button", "//form", "a button that posts stands in a form", is_unwrapped=True),
    Deviation("form.filter", "//form", "filters stand in a line", is_unwrapped=True),
    Deviation("alert", _of("pf-v6-c-alert"), "read out when it appears: a role says so", without=("role",)),
    Deviation(
        "alert.message",
        _of("pf-v6-c-alert-group"),
        "read out when a message is added",
        without=("aria-live", "aria-label"),
    ),
    Deviation("card.figure", "//p", "the body of a card is free", is_removed=True),
    Deviation("card.figure", "//a", "the footer of a card is free", is_removed=True),
    Deviation("check_list", "//div[@data-search-label]", "a long list scrolls", is_unwrapped=True),
    Deviation("check_list", "//input", "which ones are chosen", without=("checked",)),
    Deviation("code_block", "//pre", "what scrolls can be reached by keyboard", without=("tabindex",)),
    Deviation("empty_state", "//h3", "headings follow those around them", tag="h4"),
    Deviation("empty_state", _of("pf-v6-c-button", "a"), "a link that looks like a button", tag="button"),
    Deviation("expandable_section", "//details", "opened by the browser itself, without a script", tag="div"),
    Deviation("expandable_section", "//summary", "the same", tag="div"),
    Deviation("expandable_section", _of("pf-v6-c-button", "span"), "a summary is the button", tag="button"),
    Deviation("form", "//div[@role='radiogroup']", "radios are a group of their own kind", without=("role",)),
    Deviation("form.buttons", _of("pf-v6-c-button", "a"), "a link that looks like a button", tag="button"),
    *(
        Deviation(f"form.{state}", _of(name), "PatternFly's block is the field alone", is_unwrapped=True)
        for state in ("long_text", "choice", "choice_refused", "filter")
        for name in ("pf-v6-c-form__group", "pf-v6-c-form__group-control")
    ),
    *(
        Deviation(f"form.{state}", _of(name), "PatternFly's block is the field alone", is_removed=True)
        for state in ("long_text", "choice", "choice_refused", "filter")
        for name in ("pf-v6-c-form__group-label",)
    ),
    *(
        Deviation(
            f"form.{state}", _of("pf-v6-c-form__helper-text"), "PatternFly's block is the field alone", is_removed=True
        )
        for state in ("long_text", "choice_refused")
    ),
    Deviation(
        "form",
        "//input | //select | //textarea",
        "labels are elements, and help is named where there is some",
        without=("aria-label", "aria-describedby"),
    ),
    Deviation("form.numbers_and_days", "//input", "of another type than text", without=("type",)),
    Deviation("form.radios", _of("pf-v6-c-radio"), "PatternFly's block has checks", is_removed=True),
    Deviation("search_input", "//input", "browsers can empty a search", without=("type",)),
    Deviation(
        "form.parts",
        _of("pf-v6-c-form__label-required"),
        "a field that has to be filled in says so in its label",
        is_removed=True,
    ),
    Deviation("label.several", _of("pf-v6-c-label"), "labels are filled", without=("pf-m-filled",)),
    Deviation("layouts.side_by_side", _of("pf-v6-c-card") + "/*", "cards are the items of a gallery", is_removed=True),
    Deviation("layouts.side_by_side", _of("pf-v6-c-card"), "the same", without=("pf-v6-c-card",)),
    Deviation("masthead", _of("pf-m-hamburger"), "says what it opens", without=("aria-controls", "aria-expanded")),
    Deviation("masthead", _of("pf-v6-c-masthead"), "one line on a phone too", without=("pf-m-display-inline",)),
    Deviation("masthead", _of("litemaas-no-script"), "without a script a link leads to it", is_removed=True),
    Deviation("masthead", "//svg", "is not read out", without=("aria-hidden",)),
    Deviation("masthead", "//img", "the mark, and the name beside it", is_removed=True),
    Deviation("masthead", _of("pf-v6-c-masthead__logo") + "/span", "the mark, and the name beside it", is_removed=True),
    Deviation("masthead", "//details", "the menu is the person's", is_removed=True),
    Deviation("menu", "//summary", "the button of the menu, which is a component of its own", is_removed=True),
    Deviation("menu", "//details", "opened by the browser itself, without a script", is_unwrapped=True),
    Deviation("menu", "//form", "a button that posts stands in a form", is_unwrapped=True),
    Deviation("menu", "//button", "and sends it", without=("type",)),
    Deviation(
        "menu",
        "//ul",
        "a list of links and buttons: role=menu would promise the keys of a desktop menu",
        without=("role",),
    ),
    Deviation("modal_box.of_another_form", "//form", "the other form", is_removed=True),
    Deviation("modal_box", "//form", "what is asked is a form", is_unwrapped=True),
    Deviation("modal_box", "//summary", "the button that opens it", is_removed=True),
    Deviation("modal_box", "//details", "without a script the box stands below its button", is_unwrapped=True),
    Deviation("modal_box", "//dialog", "the browser's dialog keeps the focus", is_unwrapped=True),
    Deviation("modal_box", _of("pf-v6-c-modal-box"), "a question is narrow", without=("pf-m-sm",)),
    Deviation("modal_box", "//h2", "a page has one h1", tag="h1"),
    Deviation("modal_box", "//footer/button", "the footer is free", is_removed=True),
    Deviation("modal_box", _of("pf-v6-screen-reader"), "the class with which the style sheet hides", is_removed=True),
    Deviation("nav", _of("pf-v6-c-nav__link-icon"), "an icon before each text", is_removed=True),
    Deviation("pagination", "//a | //button", "pages are links", tag="button", without=("type", "disabled")),
    Deviation("popover", _of("pf-m-no-padding"), "the button that opens it", is_removed=True),
    Deviation("popover", "//h2", "a page has one h1", tag="h1"),
    Deviation(
        "progress", _of("pf-v6-c-progress__bar"), "the text that is seen is read out too", without=("aria-valuetext",)
    ),
    Deviation(
        "progress",
        _of("pf-v6-c-progress__indicator"),
        "no page has inline styles, so the width is an attribute of an svg",
        tag="div",
        without=("aria-hidden",),
    ),
    Deviation("table", _of("pf-v6-c-table"), "becomes cards below 48rem, whatever it holds", without=("pf-m-grid-md",)),
    Deviation("table", _of("pf-v6-c-table__button", "a"), "sorting is a link", tag="button"),
    Deviation(
        "table.chosen",
        _of("pf-v6-c-table__cell-empty", "th"),
        "the heading of checks is only read out",
        is_removed=True,
    ),
    Deviation(
        "table", "//tbody//td/div", "what a cell has stands beside its column's name on a phone", is_unwrapped=True
    ),
    Deviation("table.chosen", "//input", "which ones are chosen", without=("checked",)),
    Deviation("table.chosen", _of("pf-v6-c-table__check", "td"), "a cell is a cell", without=("role",)),
    Deviation("table.sum", "//tfoot//td", "named on a phone too", without=("data-label",)),
    Deviation(
        "tabs", "//ul", "links to pages are no tabs: role=tab would promise panels and arrow keys", without=("role",)
    ),
    Deviation("tabs", "//a", "the same: this page is said by aria-current", without=("aria-current",)),
    Deviation("toggle_group", _of("pf-v6-c-toggle-group"), "named", without=("aria-label", "role")),
    Deviation("toggle_group", "//a", "the same page in another way is a link", tag="button", without=("aria-current",)),
    Deviation("toolbar.filter", _of("litemaas-no-script"), "without a script a button filters", is_removed=True),
    Deviation("toolbar.filter", "//form", "filters are fields of a form", is_unwrapped=True),
    Deviation("tooltip", "//span[@tabindex]", "what it explains", is_removed=True),
    Deviation("tooltip", "//span", "shown beside it by the style sheet", is_unwrapped=True),
    # Theirs
    Deviation(
        "alert",
        _of("pf-v6-c-alert"),
        "read out when it appears: a role says so",
        of_theirs=True,
        without=("aria-label",),
    ),
    Deviation(
        "alert.with_text",
        f"{_of('pf-v6-c-alert__action')} | {_of('pf-v6-c-alert__action-group')} | //a",
        "nothing to close or do",
        of_theirs=True,
        is_removed=True,
    ),
    Deviation(
        "alert.message",
        "//a | //li[last()] | //li[3]",
        "more messages, a link in one, a button for the rest",
        of_theirs=True,
        is_removed=True,
    ),
    Deviation(
        "check_list",
        _of("pf-v6-c-form__group-label-help"),
        "help is a popover of its own",
        of_theirs=True,
        is_removed=True,
    ),
    Deviation(
        "code_block",
        _of("pf-v6-c-code-block__actions-item") + "[2]",
        "a second action",
        of_theirs=True,
        is_removed=True,
    ),
    Deviation("description_list", "//dd/div/*", "free content", of_theirs=True, is_removed=True),
    Deviation("description_list", "//dl", "the heading above names it", of_theirs=True, without=("aria-label",)),
    Deviation(
        "empty_state",
        _of("pf-v6-c-empty-state__actions") + "[2]",
        "a second row of actions",
        of_theirs=True,
        is_removed=True,
    ),
    Deviation("empty_state", "//button", "a link that looks like a button", of_theirs=True, without=("type",)),
    Deviation(
        "expandable_section",
        "//button",
        "opened by the browser itself, without a script",
        of_theirs=True,
        without=("type", "aria-expanded", "aria-controls"),
    ),
    Deviation(
        "expandable_section",
        _of("pf-v6-c-expandable-section__content"),
        "the same",
        of_theirs=True,
        without=("hidden", "role", "aria-labelledby"),
    ),
    Deviation(
        "expandable_section",
        _of("pf-v6-c-expandable-section"),
        "the same: `open` of details",
        of_theirs=True,
        without=("pf-m-expanded",),
    ),
    Deviation(
        "form", _of("pf-v6-c-form__group-label-help"), "help is a popover of its own", of_theirs=True, is_removed=True
    ),
    Deviation(
        "form",
        "//input | //select | //textarea",
        "labels are elements, and help is named where there is some",
        of_theirs=True,
        without=("aria-label", "aria-describedby"),
    ),
    Deviation(
        "form.fields",
        f"{_of('pf-v6-c-form__group')}[.{_of('pf-m-warning')} or .{_of('pf-m-success')} or .//textarea]",
        "other states, and another field",
        of_theirs=True,
        is_removed=True,
    ),
    Deviation("form.numbers_and_days", "//input", "of another type than text", of_theirs=True, without=("type",)),
    Deviation("form", "//option[@disabled]", "what cannot be chosen", of_theirs=True, is_removed=True),
    Deviation("form.choice_refused", "//select", "need not be required", of_theirs=True, without=("required",)),
    Deviation("form", "//optgroup", "options in groups", of_theirs=True, is_unwrapped=True),
    Deviation("form.radios", _of("pf-v6-c-check"), "PatternFly's block has checks", of_theirs=True, is_removed=True),
    Deviation("search_input", "//input", "browsers can empty a search", of_theirs=True, without=("type",)),
    Deviation(
        "form.radios", "//div[@role='group']", "radios are a group of their own kind", of_theirs=True, without=("role",)
    ),
    Deviation("form.buttons", "//button[2]", "a link that looks like a button", of_theirs=True, without=("type",)),
    Deviation("form.parts", "//section[1]", "a part without a title", of_theirs=True, is_removed=True),
    Deviation("layouts", _of("pf-m-fill"), "one that grows", of_theirs=True, is_removed=True),
    Deviation(
        "layouts",
        _of("pf-v6-l-gallery__item"),
        "cards are the items of a gallery",
        of_theirs=True,
        without=("pf-v6-l-gallery__item",),
    ),
    Deviation("list", "//li/ul", "a list within it", of_theirs=True, is_removed=True),
    Deviation(
        "masthead",
        _of("pf-v6-c-masthead__logo") + "/svg",
        "the mark, and the name beside it",
        of_theirs=True,
        is_removed=True,
    ),
    Deviation("masthead", _of("pf-v6-c-menu-toggle"), "the menu is the person's", of_theirs=True, is_removed=True),
    Deviation(
        "menu",
        "//li[button[@disabled] or a[@aria-disabled] or button[@aria-disabled]]",
        "what cannot be done",
        of_theirs=True,
        is_removed=True,
    ),
    Deviation("menu", "//li[@role='separator']", "a line between", of_theirs=True, is_removed=True),
    Deviation(
        "menu",
        "//ul | //li | //a | //button",
        "a list of links and buttons: role=menu would promise the keys of a desktop menu",
        of_theirs=True,
        without=("role", "type"),
    ),
    Deviation(
        "modal_box",
        _of("pf-v6-c-modal-box"),
        "the browser's dialog is the dialog",
        of_theirs=True,
        without=("role", "aria-modal", "aria-labelledby", "aria-describedby"),
    ),
    Deviation(
        "modal_box",
        _of("pf-v6-u-screen-reader"),
        "the class with which the style sheet hides",
        of_theirs=True,
        is_removed=True,
    ),
    *(
        Deviation("pagination", _of(name), "how many pages there are is not known", of_theirs=True, is_removed=True)
        for name in ("pf-v6-c-pagination__page-menu", "pf-v6-c-pagination__nav-page-select", "pf-m-prev", "pf-m-last")
    ),
    Deviation("pagination", "//b", "in bold", of_theirs=True, is_removed=True),
    Deviation("pagination", "//button", "pages are links", of_theirs=True, without=("type", "disabled")),
    Deviation(
        "popover", _of("pf-v6-c-popover"), "the rest of the page can be used", of_theirs=True, without=("aria-modal",)
    ),
    Deviation("popover", "//footer", "has no footer", of_theirs=True, is_removed=True),
    Deviation("switch.off", "//input", "off, and not disabled", of_theirs=True, without=("disabled", "checked")),
    Deviation(
        "table",
        _of("pf-v6-c-table"),
        "becomes cards below 48rem, whatever it holds",
        of_theirs=True,
        without=("pf-m-grid-md", "pf-m-grid-lg"),
    ),
    Deviation("table", "//caption", "the label names it", of_theirs=True, is_removed=True),
    Deviation("table", _of("pf-m-help"), "help in a heading", of_theirs=True, is_removed=True),
    *(
        Deviation("table", f"//th[{condition}] | //td[{condition}]", reason, of_theirs=True, is_removed=True)
        for condition, reason in (
            ("contains(@class, 'pf-v6-c-table__action')", "a column of menus"),
            ("contains(@class, 'pf-v6-c-table__cell-empty')", "a column of menus"),
            ("contains(@class, 'pf-v6-c-table__icon')", "a column of icons"),
            ("a", "a link in a cell"),
        )
    ),
    Deviation("table.chosen", "//th[@data-label]", "rows have no heading", of_theirs=True, is_removed=True),
    Deviation("table.compact", "//th[@data-label]", "rows have no heading", of_theirs=True, is_removed=True),
    Deviation(
        "table.chosen", "//th[input or label]", "all rows are chosen one by one", of_theirs=True, is_removed=True
    ),
    Deviation(
        "table.chosen",
        _of("pf-v6-c-table__check", "td"),
        "the field within is named",
        of_theirs=True,
        without=("aria-label",),
    ),
    Deviation("table.compact", _of("pf-v6-c-table__check"), "rows cannot be chosen", of_theirs=True, is_removed=True),
    Deviation("table.compact", "//td", "the table is compact as a whole", of_theirs=True, without=("pf-m-compact",)),
    Deviation("tabs", _of("pf-v6-c-tabs__scroll-button"), "as many as fit", of_theirs=True, is_removed=True),
    Deviation("tabs", _of("pf-v6-c-tabs"), "the same", of_theirs=True, without=("pf-m-scrollable",)),
    Deviation("tabs", "//li[a[@aria-disabled]]", "what cannot be opened is not shown", of_theirs=True, is_removed=True),
    Deviation(
        "tabs",
        "//ul | //li | //a",
        "links to pages are no tabs: role=tab would promise panels and arrow keys",
        of_theirs=True,
        without=("role", "aria-label", "aria-selected"),
    ),
    Deviation(
        "toggle_group",
        "//button",
        "the same page in another way is a link",
        of_theirs=True,
        without=("type", "aria-label"),
    ),
    Deviation("toolbar.filter_field", "//option[@disabled]", "what cannot be chosen", of_theirs=True, is_removed=True),
    Deviation("toolbar.filter_field", "//optgroup", "options in groups", of_theirs=True, is_unwrapped=True),
    Deviation("toolbar", "//hr", "a line between", of_theirs=True, is_removed=True),
    Deviation("toolbar.filter", _of("pf-v6-c-toolbar__group"), "a group", of_theirs=True, is_removed=True),
    Deviation("toolbar.filter_group", "//button", "free content", of_theirs=True, is_removed=True),
)
