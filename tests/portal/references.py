"""Which block of PatternFly's documentation each example of templates/styleguide is equal to."""

from collections.abc import Mapping
from typing import Final

# By component and state: the page of the documentation, and the heading of the block.
REFERENCES: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "action_list": {"two_buttons": ("ActionList", "Action list single group")},
    "alert": {
        **dict.fromkeys(("success", "info", "warning", "danger"), ("Alert", "Inline types")),
        "with_text": ("Alert", "Inline variations"),
        "message": ("Alert", "Toast alert group"),
    },
    "badge": {"number": ("Badge", "Read"), "of_what": ("Badge", "Unread")},
    "banner": dict.fromkeys(("info", "success", "warning", "danger"), ("Banner", "Status")),
    "breadcrumb": {"three_levels": ("Breadcrumb", "Basic")},
    "button": {
        **dict.fromkeys(
            ("primary", "secondary", "tertiary", "link", "danger", "warning", "with_icon", "icon_alone"),
            ("Button", "Variations"),
        ),
        "submit": ("Button", "Types"),
        "as_wide_as_there_is": ("Button", "Block level"),
        "leads_elsewhere": ("Button", "Links as buttons"),
        "copies": ("Button", "Variations"),
    },
    "card": {
        "with_footer": ("Card", "Basic"),
        "compact": ("Card", "Compact"),
        "leads_elsewhere": ("Card", "Actionable (link)"),
        "figure": ("Card", "Compact"),
    },
    "check": {
        "off": ("Check", "Basic"),
        "on": ("Check", "Checked"),
        "disabled": ("Check", "Disabled"),
        "with_help": ("Check", "With description"),
    },
    "check_list": {"two_chosen": ("Form", "Horizontally aligned labels")},
    "clipboard_copy": {"short": ("ClipboardCopy", "Inline compact")},
    "code_block": {"command": ("CodeBlock", "Basic")},
    "description_list": {"two_terms": ("DescriptionList", "Horizontal")},
    "empty_state": {"with_actions": ("EmptyState", "Basic")},
    "expandable_section": {"closed": ("ExpandableSection", "Hidden"), "open": ("ExpandableSection", "Expanded")},
    "form": {
        "fields": ("Form", "Help text"),
        "numbers_and_days": ("Form", "Vertically aligned labels"),
        "long_text": ("FormControl", "Textarea"),
        "choice": ("FormControl", "Select"),
        "choice_refused": ("FormControl", "Select"),
        "checks": ("Form", "Horizontally aligned labels"),
        "radios": ("Form", "Horizontally aligned labels"),
        "parts": ("Form", "Form sections"),
        "buttons": ("Form", "Action group"),
        "field_of_its_own": ("Form", "Vertically aligned labels"),
        "filter": ("FormControl", "Select"),
        "one_button": ("Button", "Types"),
    },
    "icon": {"alone": ("Button", "Variations")},
    "label": {
        **dict.fromkeys(
            ("blue", "green", "orange", "red", "purple", "teal", "yellow", "grey", "with_icon"), ("Label", "Filled")
        ),
        "compact": ("Label", "Compact"),
        "several": ("Label", "Basic label group"),
    },
    "layouts": {
        "side_by_side": ("layouts/Gallery", "With gutter"),
        "one_below_the_other": ("layouts/Stack", "With gutter"),
    },
    "list": {"three": ("List", "Plain")},
    "masthead": {"with_a_name": ("demos/Masthead", "Basic")},
    "menu": {
        "with_text": ("Menu", "Basic"),
        "with_icon": ("Menu", "Basic"),
        "three_dots": ("Menu", "Danger menu item"),
    },
    "modal_box": {
        "danger": ("ModalBox", "Danger alert"),
        "warning": ("ModalBox", "Warning alert"),
        "info": ("ModalBox", "Info alert"),
        "form": ("ModalBox", "Medium"),
        "of_another_form": ("ModalBox", "Danger alert"),
    },
    "nav": {"grouped": ("demos/Nav", "Grouped nav")},
    "pagination": {
        "first_page": ("Pagination", "Indeterminate (item count is not known)"),
        "last_page": ("Pagination", "Indeterminate (item count is not known)"),
    },
    "popover": {"help": ("Popover", "Top")},
    "progress": {
        "plain": ("Progress", "Simple"),
        "with_help": ("Progress", "Helper text"),
        "success": ("Progress", "Success"),
        "warning": ("Progress", "Warning"),
        "danger": ("Progress", "Failure"),
    },
    "radio": {"off": ("Radio", "Basic"), "on": ("Radio", "Checked"), "with_help": ("Radio", "With description")},
    "search_input": {"empty": ("TextInputGroup", "Search input group")},
    "skeleton": {"line": ("Skeleton", "Default")},
    "spinner": {"turning": ("Spinner", "Basic")},
    "switch": {"on": ("Switch", "Basic"), "off": ("Switch", "Disabled")},
    "table": {
        "plain": ("Table", "Basic table example"),
        "sorted": ("Table", "Sortable example"),
        "chosen": ("Table", "Checkboxes and actions example"),
        "actions": ("Table", "Table with buttons and actions"),
        "sum": ("Table", "Table footer example"),
        "compact": ("Table", "Compact example"),
    },
    "tabs": {"three": ("Tabs", "Using the nav element example")},
    "toggle_group": {"two": ("ToggleGroup", "Icon-and-text")},
    "toolbar": {
        "items": ("Toolbar", "Simple"),
        "filter": ("Toolbar", "Simple"),
        "filter_group": ("Toolbar", "Filter group"),
        "filter_field": ("FormControl", "Select"),
    },
    "tooltip": {"above": ("Tooltip", "Top")},
}
