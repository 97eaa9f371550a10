"""The sentences of e-mails about requests for more of a limit and to join a team, in each language: data only."""

from collections.abc import Mapping
from typing import Final

# Event, or event and status -> (subject, sentence, next step).
REQUEST_EVENTS: Final[Mapping[str, Mapping[str, tuple[str, str, str]]]] = {
    "en": {
        "limit.requested": (
            "More asked for: {what}",
            "{user} asks for a higher limit of {kind} for {what}: {requested} in place of {limit}.",
            "An administrator will decide.",
        ),
        "limit.request_decided approved": (
            "Limit raised: {what}",
            "The limit of {kind} for {what} is now {granted}.",
            "It holds from the next call on.",
        ),
        "limit.request_decided denied": (
            "Limit not raised: {what}",
            "The limit of {kind} for {what} stays at {limit}.",
            "You can ask again, with more of a reason.",
        ),
        "team.join_requested": (
            "{user} asks to join {team}",
            "{user} asks to become a member of {team}.",
            "Accept or decline it on the page of the team.",
        ),
        "team.join_decided accepted": (
            "You are in {team}",
            "{by} has accepted you as a member of {team}.",
            "You can use its subscriptions with keys of your own.",
        ),
        "team.join_decided declined": (
            "Not accepted: {team}",
            "Your request to join {team} was declined.",
            "Ask an owner of the team if you need it.",
        ),
    },
    "es": {
        "limit.requested": (
            "Se pide más: {what}",
            "{user} pide un límite más alto de {kind} para {what}: {requested} en lugar de {limit}.",
            "Un administrador decidirá.",
        ),
        "limit.request_decided approved": (
            "Límite aumentado: {what}",
            "El límite de {kind} para {what} es ahora {granted}.",
            "Vale desde la próxima llamada.",
        ),
        "limit.request_decided denied": (
            "Límite sin cambios: {what}",
            "El límite de {kind} para {what} sigue siendo {limit}.",
            "Puede pedirlo de nuevo, con un motivo más detallado.",
        ),
        "team.join_requested": (
            "{user} pide unirse a {team}",
            "{user} pide ser miembro de {team}.",
            "Acepte o rechace la solicitud en la página del equipo.",
        ),
        "team.join_decided accepted": (
            "Ya está en {team}",
            "{by} le ha aceptado como miembro de {team}.",
            "Puede usar sus suscripciones con claves propias.",
        ),
        "team.join_decided declined": (
            "Solicitud rechazada: {team}",
            "Su solicitud de unirse a {team} se ha rechazado.",
            "Hable con un responsable del equipo si lo necesita.",
        ),
    },
    "fr": {
        "limit.requested": (
            "Demande d'augmentation : {what}",
            "{user} demande une limite plus haute de {kind} pour {what} : {requested} au lieu de {limit}.",
            "Un administrateur décidera.",
        ),
        "limit.request_decided approved": (
            "Limite augmentée : {what}",
            "La limite de {kind} pour {what} est maintenant {granted}.",
            "Elle vaut dès le prochain appel.",
        ),
        "limit.request_decided denied": (
            "Limite inchangée : {what}",
            "La limite de {kind} pour {what} reste {limit}.",
            "Vous pouvez demander à nouveau, avec un motif plus détaillé.",
        ),
        "team.join_requested": (
            "{user} demande à rejoindre {team}",
            "{user} demande à devenir membre de {team}.",
            "Acceptez ou refusez la demande sur la page de l'équipe.",
        ),
        "team.join_decided accepted": (
            "Vous êtes dans {team}",
            "{by} vous a accepté comme membre de {team}.",
            "Vous pouvez utiliser ses abonnements avec vos propres clés.",
        ),
        "team.join_decided declined": (
            "Demande refusée : {team}",
            "Votre demande de rejoindre {team} a été refusée.",
            "Adressez-vous à un responsable de l'équipe si vous en avez besoin.",
        ),
    },
}
# Kinds of limits, as parts of a sentence; those of windows are in email_phrases.
KINDS_PER_MINUTE: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {"rpm": "requests per minute", "tpm": "tokens per minute", "concurrency": "concurrent requests"},
    "es": {"rpm": "peticiones por minuto", "tpm": "tokens por minuto", "concurrency": "peticiones simultáneas"},
    "fr": {"rpm": "requêtes par minute", "tpm": "jetons par minute", "concurrency": "requêtes simultanées"},
}
