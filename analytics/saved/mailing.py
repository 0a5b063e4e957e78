"""Sending saved reports when they are due.

Each due time makes one mail for each recipient, in the transaction that moves the schedule on, so that it is made once
whatever crashes. A mail is taken by naming the state it has, before it is handed over: one that broke off in between
is never sent again, as it may have arrived. After downtime the times that were missed make one mail, not many.
"""

import logging
import time
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from analytics.exports import files, logged
from analytics.models import ReportMail, ReportRecipient, SavedReport
from analytics.models.saved import address_of
from analytics.saved import allowed, clock, letter, making, post, store, tokens
from crm import alerts

logger = logging.getLogger(__name__)
State = ReportMail.State
AT_ONCE = 50
LEASE = timedelta(minutes=15)
GIVEN_UP_AFTER = timedelta(days=1)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=2), timedelta(hours=2)
KEPT = timedelta(days=90)
BUDGET_SECONDS = 20.0


class NotMailed(ValueError):
    """It was not sent; the message is for the person who asked for it."""


def run(now: datetime | None = None) -> int:
    """Send what is due; return how many mails went out. May run in several processes at once."""
    at = now or timezone.now()
    follow_zone(at)
    while claim(at) == AT_ONCE:
        pass
    _give_up_broken_off(at)
    began, sent = time.monotonic(), 0
    maker = making.Maker(at)
    while time.monotonic() - began < BUDGET_SECONDS and (mail := _taken(at)) is not None:
        sent += _settle(mail, maker, at)
    return sent


def follow_zone(now: datetime) -> int:
    """Let what is due soon be due by the time zone that the account has now; return how many were due by another."""
    moved = 0
    for saved in SavedReport.objects.filter(next_at__lte=now + clock.MOVES, paused=False):
        due = clock.planned(saved)
        if due != saved.next_at:
            moved += SavedReport.objects.filter(pk=saved.pk, next_at=saved.next_at).update(next_at=due)
    return moved


@transaction.atomic
def claim(now: datetime) -> int:
    """Make the mails of reports that are due and move their schedules on; return how many reports those were."""
    due = list(
        SavedReport.objects.select_for_update(skip_locked=True)
        .filter(next_at__lte=now, paused=False)
        .order_by("next_at")[:AT_ONCE]
    )
    if not due:
        return 0
    at = {saved.pk: saved.next_at for saved in due if saved.next_at}
    wanted = ReportRecipient.objects.filter(saved__in=due, left_at=None)
    mails = [
        ReportMail(saved_id=row.saved_id, recipient=row, due_at=at[row.saved_id], try_at=now)
        for row in wanted
    ]
    ReportMail.objects.bulk_create(mails, ignore_conflicts=True)
    given = {mail.saved_id for mail in mails}
    for saved in due:
        saved.last_due, saved.next_at = saved.next_at, clock.following(saved, now)
        if saved.pk not in given:
            saved.last_error = _("Nobody gets it: add a recipient.")
    SavedReport.objects.bulk_update(due, ["last_due", "next_at", "last_error"])
    ReportMail.objects.filter(due_at__lt=now - KEPT).exclude(state=State.WAITING).delete()
    return len(due)


def send_now(saved: SavedReport, user: User, language: str, now: datetime | None = None) -> None:
    """Mail a report to one user at once, as a try; the schedule stays as it is.

    Raises:
        NotMailed: there is nothing to send by or to, the report can't be made, or the server did not take it.
    """
    now = now or timezone.now()
    recipient = ReportRecipient(saved=saved, user=user, language=language)
    to = address_of(recipient)
    if not to:
        raise NotMailed(_("Your user has no email address."))
    if not post.ready():
        raise NotMailed(post.no_account())
    try:
        allowed.check(saved, recipient)
        found, written = making.Maker(now).of(saved, recipient)
        logged.record(user, found, "email", "report.mailed", saved=saved.pk)
        post.send(to, letter.payload(written), saved.pk, now)
    except (allowed.NotAllowed, making.Broken) as error:
        raise NotMailed(str(error)) from error
    except post.NotSent as error:
        raise NotMailed(_("It could not be sent: %s") % error.detail) from error


def _taken(now: datetime) -> ReportMail | None:
    """The next mail to send, which is this process's from now on."""
    with transaction.atomic():
        mail = (
            ReportMail.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("saved__owner", "recipient__user")
            .filter(state=State.WAITING, try_at__lte=now)
            .order_by("try_at", "pk")
            .first()
        )
        if mail is None:
            return None
        mail.state, mail.tries, mail.try_at = State.SENDING, mail.tries + 1, now + LEASE
        mail.save(update_fields=["state", "tries", "try_at"])
        return mail


def _give_up_broken_off(now: datetime) -> None:
    words = _("Broken off while it was being sent: it may have arrived.")
    ReportMail.objects.filter(state=State.SENDING, try_at__lte=now).update(
        state=State.FAILED, detail=words, settled_at=now
    )


def _settle(mail: ReportMail, maker: making.Maker, now: datetime) -> bool:
    """Send one mail, and keep what became of it; whether it went out."""
    saved, recipient = mail.saved, mail.recipient
    try:
        allowed.check(saved, recipient)
        if not post.ready():
            raise post.NotSent(post.no_account(), again=True, setup=True)
        found, written = maker.of(saved, recipient)
        if not _worth(mail, found):
            return False
        leave = "" if recipient.user_id else tokens.url(recipient.pk)
        by = saved.owner or "mail_reports"
        logged.record(by, found, "email", "report.mailed", saved=saved.pk, recipient=recipient.pk)
        post.send(address_of(recipient), letter.payload(written, leave), mail.pk, now)
    except allowed.NotAllowed as error:
        _end(mail, State.SKIPPED, str(error), now)
        return False
    except making.Broken as error:
        _broken(mail, str(error), now)
        return False
    except post.NotSent as error:
        _not_sent(mail, error, now)
        return False
    except Exception:  # whatever a mail server or a report can do wrong: the others go on
        logger.exception("A saved report can't be mailed")
        _failed(mail, _("Something went wrong here; the log tells what."), now)
        return False
    _end(mail, State.SENT, "", now)
    SavedReport.objects.filter(pk=saved.pk).update(last_sent_at=now, last_error="", told_broken=False)
    alerts.resolve(store.alert_key(saved.pk))
    return True


def _worth(mail: ReportMail, found: files.Made) -> bool:
    """Whether it is to be sent this time; decided once for all recipients of a due time."""
    with transaction.atomic():
        saved = SavedReport.objects.select_for_update().get(pk=mail.saved_id)
        told = mail.due_at.isoformat()
        decided, _space, before = saved.last_digest.partition(" ")
        if decided == told:
            return True
        digest = letter.digest(found)
        empty = saved.only == SavedReport.Only.FILLED and not letter.filled(found)
        if empty or (saved.only == SavedReport.Only.CHANGED and digest == before):
            words = _("There is nothing in it.") if empty else _("It says the same as the last time.")
            ReportMail.objects.filter(
                saved=saved, due_at=mail.due_at, state__in=[State.WAITING, State.SENDING]
            ).update(state=State.SKIPPED, detail=words, settled_at=timezone.now())
            return False
        saved.last_digest = f"{told} {digest}"
        saved.save(update_fields=["last_digest"])
        return True


def _not_sent(mail: ReportMail, error: post.NotSent, now: datetime) -> None:
    if error.again and now < mail.due_at + GIVEN_UP_AFTER:
        pause = min(FIRST_PAUSE * 2 ** min(mail.tries - 1, 10), LONGEST_PAUSE)
        ReportMail.objects.filter(pk=mail.pk, state=State.SENDING).update(
            state=State.WAITING, try_at=now + pause, detail=error.detail
        )
        SavedReport.objects.filter(pk=mail.saved_id).update(last_error=error.detail)
        if error.setup:
            _alert(mail.saved, error.detail)
        return
    _failed(mail, error.detail, now)


def _failed(mail: ReportMail, words: str, now: datetime) -> None:
    _end(mail, State.FAILED, words, now)
    SavedReport.objects.filter(pk=mail.saved_id).update(last_error=words)
    _alert(mail.saved, words)


def _broken(mail: ReportMail, words: str, now: datetime) -> None:
    """The report can't be made as it was saved: say so on its page, in an alert, and once to its owner."""
    ReportMail.objects.filter(saved=mail.saved_id, state__in=[State.WAITING, State.SENDING]).update(
        state=State.SKIPPED, detail=words, settled_at=now
    )
    SavedReport.objects.filter(pk=mail.saved_id).update(last_error=words)
    _alert(mail.saved, words)
    saved = mail.saved
    untold = SavedReport.objects.filter(pk=saved.pk, told_broken=False)
    to = saved.owner.email if saved.owner and saved.owner.is_active else ""
    if not to or not untold.update(told_broken=True):
        return
    try:
        with making.speaking(saved, saved.owner_id):
            post.send(to, letter.about_trouble(saved, words), mail.pk, now)
    except post.NotSent:
        logger.warning("The owner of saved report %d can't be told that it is broken", saved.pk)
        SavedReport.objects.filter(pk=saved.pk).update(told_broken=False)


def _end(mail: ReportMail, state: str, words: str, now: datetime) -> None:
    ReportMail.objects.filter(pk=mail.pk, state=State.SENDING).update(
        state=state, detail=words, settled_at=now
    )


def _alert(saved: SavedReport, words: str) -> None:
    title = _("The saved report “%s” is not sent") % saved.name
    alerts.raise_alert(store.alert_key(saved.pk), title, words)
