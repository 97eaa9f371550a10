"""The sentences of e-mails in each language, and how it writes numbers: data only."""

from collections.abc import Mapping
from typing import Final

# Thousands separator and decimal mark. A no-break space suits readers of both 1.000 and 1 000.
MARKS: Final[Mapping[str, tuple[str, str]]] = {"en": (",", "."), "es": ("\u00a0", ","), "fr": ("\u00a0", ",")}
# Kinds and windows of limits, as parts of a sentence.
KINDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {"requests": "requests", "tokens": "tokens", "cost": "USD"},
    "es": {"requests": "peticiones", "tokens": "tokens", "cost": "USD"},
    "fr": {"requests": "requêtes", "tokens": "jetons", "cost": "USD"},
}
WINDOWS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {"day": "today", "week": "this week", "month": "this month", "year": "this year", "lifetime": "in all"},
    "es": {"day": "hoy", "week": "esta semana", "month": "este mes", "year": "este año", "lifetime": "en total"},
    "fr": {
        "day": "aujourd'hui",
        "week": "cette semaine",
        "month": "ce mois-ci",
        "year": "cette année",
        "lifetime": "au total",
    },
}
LEVELS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "key": "key {key}",
        "key_model": "key {key} with model {model}",
        "subscription": "the subscription of {account} to {model}",
        "user": "{user} in {account}",
        "team": "{account}",
    },
    "es": {
        "key": "la clave {key}",
        "key_model": "la clave {key} con el modelo {model}",
        "subscription": "la suscripción de {account} a {model}",
        "user": "{user} en {account}",
        "team": "{account}",
    },
    "fr": {
        "key": "la clé {key}",
        "key_model": "la clé {key} avec le modèle {model}",
        "subscription": "l'abonnement de {account} à {model}",
        "user": "{user} dans {account}",
        "team": "{account}",
    },
}
LIMIT: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "subject": "{threshold} % of a limit reached: {what}",
        "used": "For {what}, {used} of {limit} {kind} have been used {window} ({percent} %).",
        "forecast": "At this pace the limit will be reached on {forecast}.",
        "reached": "The limit is reached: calls are rejected with status 429 until it resets.",
        "reset": "It resets on {end}.",
        "todo": "Use less until then, or ask an administrator for a higher limit.",
        "reached for good": "The limit is reached: calls are rejected with status 429, and it does not reset.",
        "todo for good": "Ask an administrator for a higher limit to continue.",
    },
    "es": {
        "subject": "Se ha alcanzado el {threshold} % de un límite: {what}",
        "used": "Para {what} se han usado {used} de {limit} {kind} {window} ({percent} %).",
        "forecast": "A este ritmo, el límite se alcanzará el {forecast}.",
        "reached": "El límite se ha alcanzado: las llamadas se rechazan con 429 hasta que empiece de nuevo.",
        "reset": "Empieza de nuevo el {end}.",
        "todo": "Para seguir, use menos hasta entonces o pida a un administrador un límite más alto.",
        "reached for good": "El límite se ha alcanzado: las llamadas se rechazan con 429, y no empieza de nuevo.",
        "todo for good": "Para seguir, pida a un administrador un límite más alto.",
    },
    "fr": {
        "subject": "{threshold} % d'une limite atteints : {what}",
        "used": "Pour {what}, {used} sur {limit} {kind} ont été utilisés {window} ({percent} %).",
        "forecast": "À ce rythme, la limite sera atteinte le {forecast}.",
        "reached": "La limite est atteinte : les appels sont refusés avec 429 jusqu'à ce qu'elle recommence.",
        "reset": "Elle recommence le {end}.",
        "todo": "Pour continuer, consommez moins d'ici là ou demandez une limite plus haute à un administrateur.",
        "reached for good": "La limite est atteinte : les appels sont refusés avec 429, et elle ne recommence pas.",
        "todo for good": "Pour continuer, demandez une limite plus haute à un administrateur.",
    },
}
# Status -> (subject, sentence, next step).
SUBSCRIPTIONS: Final[Mapping[str, Mapping[str, tuple[str, str, str]]]] = {
    "en": {
        "pending": ("Access requested: {model}", "{account} has requested {model}.", "An administrator will decide."),
        "active": (
            "Access granted: {model}",
            "{account} may use {model}.",
            "Create an API key for it, or use an existing one.",
        ),
        "denied": ("Access denied: {model}", "{account} may not use {model}.", "You can request a review."),
        "suspended": (
            "Access suspended: {model}",
            "{account} cannot use {model} for the time being: calls are rejected.",
            "Ask an administrator when access will be restored.",
        ),
        "cancelled": (
            "Subscription cancelled: {model}",
            "{account} no longer uses {model}.",
            "Subscribe again at any time.",
        ),
        "expired": (
            "Subscription expired: {model}",
            "The subscription of {account} to {model} has expired.",
            "Subscribe again to continue.",
        ),
    },
    "es": {
        "pending": ("Acceso solicitado: {model}", "{account} ha solicitado {model}.", "Un administrador decidirá."),
        "active": (
            "Acceso concedido: {model}",
            "{account} puede usar {model}.",
            "Cree una clave de API o siga usando la suya.",
        ),
        "denied": ("Acceso denegado: {model}", "{account} no puede usar {model}.", "Puede pedir una revisión."),
        "suspended": (
            "Acceso suspendido: {model}",
            "{account} no puede usar {model} por el momento: las llamadas se rechazan.",
            "Un administrador puede decir cuándo se devolverá.",
        ),
        "cancelled": ("Suscripción cancelada: {model}", "{account} ya no usa {model}.", "Puede suscribirse de nuevo."),
        "expired": (
            "Suscripción terminada: {model}",
            "El tiempo de {account} con {model} ha terminado.",
            "Suscríbase de nuevo para seguir.",
        ),
    },
    "fr": {
        "pending": ("Accès demandé : {model}", "{account} a demandé {model}.", "Un administrateur décidera."),
        "active": (
            "Accès accordé : {model}",
            "{account} peut utiliser {model}.",
            "Créez une clé d'API ou gardez la vôtre.",
        ),
        "denied": (
            "Accès refusé : {model}",
            "{account} ne peut pas utiliser {model}.",
            "Vous pouvez demander un réexamen.",
        ),
        "suspended": (
            "Accès suspendu : {model}",
            "{account} ne peut pas utiliser {model} pour l'instant : les appels sont refusés.",
            "Un administrateur peut dire quand il sera rendu.",
        ),
        "cancelled": (
            "Abonnement résilié : {model}",
            "{account} n'utilise plus {model}.",
            "Vous pouvez vous réabonner.",
        ),
        "expired": (
            "Abonnement terminé : {model}",
            "Le temps de {account} avec {model} est terminé.",
            "Abonnez-vous à nouveau pour continuer.",
        ),
    },
}
# Role -> (subject, sentence, next step).
INVITATIONS: Final[Mapping[str, Mapping[str, tuple[str, str, str]]]] = {
    "en": {
        "owner": (
            "Invitation to own {team}",
            "{by} invites you to become an owner of {team}: you would manage its members, subscriptions and limits.",
            "Accept or decline by {end}.",
        ),
        "member": (
            "Invitation to {team}",
            "{by} invites you to {team}: you would use its subscriptions with keys of your own.",
            "Accept or decline by {end}.",
        ),
    },
    "es": {
        "owner": (
            "Invitación a administrar {team}",
            "{by} le invita a ser responsable de {team}: administraría sus miembros, suscripciones y límites.",
            "Acepte o rechace antes del {end}.",
        ),
        "member": (
            "Invitación a {team}",
            "{by} le invita a {team}: usaría sus suscripciones con claves propias.",
            "Acepte o rechace antes del {end}.",
        ),
    },
    "fr": {
        "owner": (
            "Invitation à gérer {team}",
            "{by} vous invite à devenir responsable de {team} : vous géreriez ses membres, abonnements et limites.",
            "Acceptez ou refusez avant le {end}.",
        ),
        "member": (
            "Invitation à rejoindre {team}",
            "{by} vous invite à rejoindre {team} : vous utiliseriez ses abonnements avec vos propres clés.",
            "Acceptez ou refusez avant le {end}.",
        ),
    },
}
# Of requests that wait for an admin; `lines` names them, `more` says how many are left out.
REQUESTS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "subject": "Requests waiting for a decision: {count}",
        "lines": "{account}: {model}, since {since}",
        "limits": "{account}: more than limit {limit_id} allows, since {since}",
        "more": "and {more} more.",
        "todo": "Approve or deny them; `litemaas subscriptions list --status pending` shows all.",
    },
    "es": {
        "subject": "Solicitudes pendientes de decisión: {count}",
        "lines": "{account}: {model}, desde {since}",
        "limits": "{account}: más de lo que permite el límite {limit_id}, desde {since}",
        "more": "y {more} más.",
        "todo": "Apruébelas o deniéguelas; `litemaas subscriptions list --status pending` las muestra todas.",
    },
    "fr": {
        "subject": "Demandes en attente de décision : {count}",
        "lines": "{account} : {model}, depuis {since}",
        "limits": "{account} : plus que la limite {limit_id} ne permet, depuis {since}",
        "more": "et {more} de plus.",
        "todo": "Approuvez-les ou refusez-les ; `litemaas subscriptions list --status pending` les montre toutes.",
    },
}
# Of one e-mail with several messages.
DIGEST: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {"subject": "{count} messages of LiteMaaS: {last}, …", "more": "{more} older messages are not shown."},
    "es": {"subject": "{count} mensajes de LiteMaaS: {last}, …", "more": "No se muestran {more} mensajes anteriores."},
    "fr": {
        "subject": "{count} messages de LiteMaaS : {last}, …",
        "more": "{more} messages plus anciens ne sont pas montrés.",
    },
}
# Event -> (subject, sentence), and reason -> (why, what keeps it).
KEY_ENDS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "en": {
        "key.ending": ("Key {key} ends on {end}", "Key {key} of {account} will be revoked on {end}, because {why}."),
        "key.ended": ("Key {key} has ended", "Key {key} of {account} was revoked, because {why}."),
    },
    "es": {
        "key.ending": ("La clave {key} termina el {end}", "La clave {key} de {account} se revocará el {end}: {why}."),
        "key.ended": ("La clave {key} ha terminado", "La clave {key} de {account} se ha revocado: {why}."),
    },
    "fr": {
        "key.ending": ("La clé {key} prend fin le {end}", "La clé {key} de {account} sera révoquée le {end} : {why}."),
        "key.ended": ("La clé {key} a pris fin", "La clé {key} de {account} a été révoquée : {why}."),
    },
}
KEY_REASONS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "en": {
        "unused": ("keys end after {days} days without a call", "A call with it before then keeps it."),
        "no_login": ("keys end {days} days after the last login of their user", "A login of {user} keeps it."),
    },
    "es": {
        "unused": ("las claves terminan tras {days} días sin llamadas", "Una llamada con ella antes la conserva."),
        "no_login": (
            "las claves terminan {days} días después del último inicio de sesión de su usuario",
            "Un inicio de sesión de {user} antes la conserva.",
        ),
    },
    "fr": {
        "unused": ("les clés prennent fin après {days} jours sans appel", "Un appel avec elle d'ici là la conserve."),
        "no_login": (
            "les clés prennent fin {days} jours après la dernière connexion de leur utilisateur",
            "Une connexion de {user} d'ici là la conserve.",
        ),
    },
}
NEW_KEY: Final[Mapping[str, str]] = {
    "en": "Create a new key if you need one.",
    "es": "Cree una clave nueva si la necesita.",
    "fr": "Créez une nouvelle clé si besoin.",
}
# Subject, sentence. Only webhooks get it.
TEST: Final = ("Test message of LiteMaaS", "{by} has sent this test message. Nothing needs to be done.")
REASON: Final[Mapping[str, str]] = {"en": "Reason: {reason}", "es": "Motivo: {reason}", "fr": "Motif : {reason}"}
