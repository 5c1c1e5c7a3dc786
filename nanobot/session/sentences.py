"""What the session itself says, to people and (as notes) to the model. Plain text, no state."""

from __future__ import annotations

from collections.abc import Iterable

from nanobot.messages import Call, CallState, Effect, Entry, Reply
from nanobot.session.state import Errand, ErrandKind, StopReason

NOTHING_TO_STOP = "There is nothing to stop."
NEW_CONVERSATION = "New session started."
NOTHING_TO_UNDO = "There is nothing to undo."
NOTHING_TO_RETRY = "There is nothing to try again."
BUSY = "A turn is running. Send /stop first."
BEING_REMEMBERED = "That exchange is being written to memory right now and cannot be undone."
TOO_MANY_WAITING = "Too many messages are waiting here. This one was not taken; send it again when I have answered."
NOT_YOURS = "Only the owner can answer that."
APPROVE_LATER = "nanobot is stopping just now. Say that again when it is back; the request stays open."
NO_SUCH_REQUEST = "No call with that id waits for an answer."
TRUSTED = "What was read in this conversation so far counts as harmless from now on."
DEADLINE = "This took longer than a turn may take (agents.defaults.deadlines.turn), so I stopped it."
OVER_BOUNDS = {
    StopReason.DEADLINE: DEADLINE,
    StopReason.RUN_DEADLINE: "This scheduled run took longer than it may (gateway.cron.deadlineS), so I stopped it.",
    StopReason.TOKENS: "This scheduled run used more tokens than it may (gateway.cron.tokens), so I stopped it.",
}
CRASHED_TWICE = "nanobot failed or was restarted twice while it worked on this, so I stopped trying. Send it again to retry."
NOT_RESUMED = "nanobot was restarted too often in a short time, so I did not go on with this by myself. Send it again to retry."
TOO_LONG = (
    "This conversation is too long for the model, even shortened. Send /new to start afresh, or choose a model that reads more."
)
EMPTY_ANSWER = "The model finished without an answer. Try to put the question in other words."
NO_TOOLS_FAILED = {
    "limit": "I reached the limit of steps for one turn (agents.defaults.maxToolIterations) without an answer.",
    "empty": EMPTY_ANSWER,
    "nameless": "The model asked for a tool without naming it, several times. Try again, or choose another model.",
    "repeat": "The model asked for the same thing again and again, so I ended the turn. Try to put it in other words.",
}
LAST_CALL_NOTES = {
    "limit": "The limit of steps for this turn is reached. Answer now without tools: what is done, what is not, what you know.",
    "empty": "Your last answers were empty. Answer now in text, without tools.",
    "nameless": "Your tool calls had no name. Answer now in text, without tools.",
    "repeat": "You asked for the same call again and again. Answer now in text, without tools, with what you have.",
}
NAMELESS = "Your last answer asked for a tool without naming it, so nothing was run. Name the tool, or answer in text."
CUT_IN_CALL = (
    "Your last answer was cut at the token limit before the tool call was complete, so nothing was run. Write less at a time."
)
LENGTH_MARK = "\n\n(The answer was cut at the length limit.)"
REPEATED_CALL = (
    "Refused: the same call with the same arguments ran twice in a row just before. Use its result, or do something else."
)
TOO_MANY_CALLS = "Not run: too many calls in one answer. Ask again for what is still needed."
CUT = "Cancelled while it ran; its effects may have happened."
NOT_RUN = "Not run: the turn was ended before."
UNKNOWN = "nanobot was restarted while this ran. It is not known whether it took effect; check before you run it again."
NOT_RUN_CRASH = "Not run: nanobot was restarted before it began."
NOT_RUN_LIMIT = "Not run: the limit of steps for this turn was reached."
DAMAGED = "The journal of this conversation was damaged, so this was not taken up again."
DAMAGED_NOTICE = (
    "The journal of this conversation is damaged ({}). What can be read was kept and the damaged file stays where it is, "
    "but nothing of it is resumed or sent: {}."
)
QUEUED = "The message was queued before this was interrupted."
ERRAND_UNKNOWN = {
    ErrandKind.QUESTION: "nanobot was restarted while this ran: {}. It is not known how far it came.",
    ErrandKind.APPROVAL: "nanobot was restarted while this ran, which was approved: {}. It is not known how far it came.",
    ErrandKind.BACKGROUND: "nanobot was restarted, which ended this background process: {}. It is not known how far it came.",
}
ERRAND_CUT = {
    ErrandKind.APPROVAL: "nanobot was stopped while this ran, which was approved: {}. It was cut; its effects may have happened.",
    ErrandKind.BACKGROUND: "nanobot was stopped, which ended this background process: {}.",
}
APPROVED = "Approved, running: {}"
DENIED = "Denied: {}"
EXPIRED = "Nobody approved in time: {}"


def continue_after(tail: str) -> str:
    return f"Your answer was cut at the length limit. Continue exactly where it ends, without repeating anything: …{tail[-80:]}"


def no_such_request(still_open: Iterable[Errand]) -> str:
    lines = [f"{errand.id} {errand.title}" for errand in still_open]
    return "\n".join([NO_SUCH_REQUEST, *(["Open here:", *lines] if lines else [])])


def not_delivered(to: str, reason: str, text: str) -> str:
    return f"A message to {to} could not be delivered ({reason}). nanobot outbox list has it. It was: {_short(text)}"


def stopped(entries: Iterable[Entry], set_aside: int) -> str:
    """What a stop says: what had finished, what was cut."""
    calls = [call for entry in entries if isinstance(entry, Reply) for call in entry.calls]
    lines = ["Stopped."]
    done = [c for c in calls if c.state in (CallState.DONE, CallState.FAILED)]
    cut = [c for c in calls if c.state is CallState.CUT]
    if done:
        lines.append("Finished: " + _names(done) + ".")
    if cut:
        lines.append("Cut while running: " + _names(cut) + " (effects may have happened).")
    if set_aside:
        lines.append("1 waiting message was set aside." if set_aside == 1 else f"{set_aside} waiting messages were set aside.")
    return " ".join(lines)


def undone(effects: list[Call]) -> str:
    if not effects:
        return "The last exchange is out of the conversation."
    return "The last exchange is out of the conversation. What it did stays done: " + _names(effects) + "."


def confirm_retry(effects: list[Call]) -> str:
    return "That turn did things that would be done again: " + _names(effects) + ". Send /retry yes to run it all the same."


def effects_of(entries: Iterable[Entry]) -> list[Call]:
    """Calls that changed, or may have changed, something outside the conversation."""
    happened = (CallState.DONE, CallState.FAILED, CallState.CUT, CallState.UNKNOWN_AFTER_CRASH, CallState.DEFERRED)
    return [
        call
        for entry in entries
        if isinstance(entry, Reply)
        for call in entry.calls
        if call.effect is not Effect.READS and call.state in happened and not _only_asked(call)
    ]


def _only_asked(call: Call) -> bool:
    """It waited for the owner's word when its turn went on; what goes on in the background has the id of its call."""
    return call.state is CallState.DEFERRED and call.approval is not None and call.approval != call.id


def _names(calls: list[Call]) -> str:
    shown = [f"{c.name} {_short(c.arguments)}" for c in calls[:8]]
    more = f" and {len(calls) - 8} more" if len(calls) > 8 else ""
    return ", ".join(shown) + more


def _short(arguments: str) -> str:
    return arguments if len(arguments) <= 60 else arguments[:57] + "…"
