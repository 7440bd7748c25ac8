"""For each symbol of the identity check mails of which it holds, and mails of which it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult
from tests.unit.checks.identities import FAILED, PASSED, mail


@dataclass(frozen=True)
class Mail:
    """A mail and what is known of it; as it stands, one of a small firm, authenticated."""

    author: str = "Jane Doe <jane.doe@acme-tools.test>"
    subject: str = "Minutes"
    html: str = '<a href="https://www.acme-tools.test/minutes">Minutes of Monday</a>'
    fields: tuple[str, ...] = ("Message-ID: <1@acme-tools.test>",)
    results: Mapping[str, CheckResult] | None = None
    mail_from: str = "jane.doe@acme-tools.test"

    @property
    def raw(self) -> bytes:
        """The mail itself."""
        return mail(self.author, self.subject, self.html, *self.fields)

    @property
    def known(self) -> Mapping[str, CheckResult]:
        """What the checks found."""
        return PASSED("acme-tools.test") if self.results is None else self.results


@dataclass(frozen=True)
class Case:
    """One mail that has a symbol, and one that has not."""

    hit: Mail
    miss: Mail = Mail()


USUAL = Mail()
NOTHING: Mapping[str, CheckResult] = {}
SEALED = {**FAILED, "arc": CheckResult("arc", auth=(AuthResult(AuthMethod.ARC, AuthOutcome.PASS, "lists.test"),))}


def frm(author: str, *signers: str, results: Mapping[str, CheckResult] | None = None) -> Mail:
    """The usual mail by somebody else."""
    return replace(USUAL, author=author, results=PASSED(*signers) if results is None else results)


def to(url: str, text: str = "Read on", **other: str) -> Mail:
    """The usual mail with one link."""
    return replace(USUAL, html=f'<a href="{url}">{text}</a>')


def with_html(html: str) -> Mail:
    """The usual mail with another text."""
    return replace(USUAL, html=html)


def having(*fields: str) -> Mail:
    """The usual mail with further fields."""
    return replace(USUAL, fields=fields)


def unknown(one: Mail) -> Mail:
    """A mail of which nothing could be looked up."""
    return replace(one, results=NOTHING)


def failed(one: Mail) -> Mail:
    """A mail that is not authentic."""
    return replace(one, results=FAILED)


BANK = frm("PayPal <service@paypal.com>", "paypal.com")
OFFICE = frm("Court <clerk@court.gov.test.gov>", "test.gov")
PERSON = frm("Jane Doe <jane.doe@gmail.com>", "gmail.com")
POST = replace(
    frm("Jane Doe <jane.doe@gmail.com>", "lists.talk.test"), fields=("List-Id: talk <talk.lists.talk.test>",)
)
SIGNED = having("DKIM-Signature: v=1; d=acme-tools.test; s=x")
SHOP = having("List-Unsubscribe: <https://www.acme-tools.test/u>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click")
NEWS = having("List-Unsubscribe: <https://news.other.test/u>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click")
FIVE = "".join(f'<a href="https://s{n}x.test/">More of {n}</a>' for n in range(5))
PROMO = with_html("".join(f'<a href="https://www.acme-tools.test/{n}">No. {n}</a>' for n in range(6)))
STRANGER = frm("PayPal Service <a@ringring.test>", "ringring.test")

VOUCHING = {
    "AUTHOR_AUTHENTIC": Case(USUAL, failed(USUAL)),
    "AUTHOR_UNAUTHENTIC": Case(failed(USUAL), unknown(USUAL)),
    "AUTHOR_UNVERIFIED": Case(unknown(USUAL), failed(USUAL)),
    "AUTHOR_SIGNED": Case(USUAL, replace(USUAL, results=PASSED("other.test"))),
    "AUTHOR_SEALED": Case(replace(USUAL, results=SEALED), failed(USUAL)),
    "AUTHOR_VIA_LIST": Case(POST, replace(POST, results=PASSED("other.test"))),
    "AUTHOR_WITHOUT_DOMAIN": Case(frm("Jane Doe")),
    "SIGNED_BY_SERVICE": Case(replace(USUAL, results=PASSED("sendgrid.net"))),
    "SIGNED_BY_STRANGER": Case(replace(USUAL, results=PASSED("other.test"))),
    "SIGNATURE_NAMES_AUTHOR": Case(unknown(SIGNED), SIGNED),
    "SIGNATURE_NAMES_OTHER": Case(unknown(having("DKIM-Signature: v=1; d=other.test")), unknown(SIGNED)),
    "SIGNATURE_MISSING": Case(USUAL, SIGNED),
    "WELL_KNOWN_AUTHENTIC": Case(BANK, failed(BANK)),
    "WELL_KNOWN_FORGED": Case(failed(BANK), unknown(BANK)),
    "WELL_KNOWN_UNVERIFIED": Case(unknown(BANK), BANK),
    "OFFICIAL_AUTHENTIC": Case(OFFICE, failed(OFFICE)),
    "OFFICIAL_FORGED": Case(failed(OFFICE), unknown(OFFICE)),
    "OFFICIAL_UNVERIFIED": Case(unknown(OFFICE), OFFICE),
    "FREEMAIL_AUTHENTIC": Case(PERSON, failed(PERSON)),
    "FREEMAIL_FORGED": Case(failed(PERSON), POST),
    "FREEMAIL_UNVERIFIED": Case(unknown(PERSON), PERSON),
    "LOOKALIKE_AUTHOR": Case(frm("Help <help@paypa1.com>"), BANK),
    "AUTHOR_DOMAIN_FREE_PAGE": Case(frm("A <noreply@active-1.firebaseapp.com>")),
    "AUTHOR_DOMAIN_TENANT": Case(frm("A <a@bluehill.onmicrosoft.com>")),
    "AUTHOR_DOMAIN_SERVICE": Case(frm("A <a@sendgrid.net>")),
    "AUTHOR_DOMAIN_UNREAL": Case(frm("A <a@shop.tji>"), frm("A <a@localhost>")),
    "AUTHOR_DOMAIN_DIGITS": Case(frm("A <a@shop4711.com>")),
    "AUTHOR_DOMAIN_HYPHENS": Case(frm("A <a@the-big-shop.com>"), frm("A <a@big-shop.com>")),
    "AUTHOR_DOMAIN_PUNYCODE": Case(frm("A <a@xn--mller-kva.com>")),
    "AUTHOR_DOMAIN_CHEAP": Case(frm("A <a@shop.click>"), frm("A <a@shop.com>")),
    "AUTHOR_DOMAIN_RANDOM": Case(frm("A <a@ljlnndskmdsfb.us>"), frm("A <a@schreibsuchti.us>")),
    "AUTHOR_HOST_RANDOM": Case(frm("A <a@gyxqsvdk.caltrion.com>"), frm("A <a@newsletter.caltrion.com>")),
    "AUTHOR_DOMAIN_DEEP": Case(frm("A <a@a.b.c.shop.com>"), frm("A <a@b.c.shop.com>")),
    "AUTHOR_DOMAIN_LONG": Case(frm("A <a@thegreatbigshopofallthingsgood.com>")),
}
NAMES = {
    "AUTHOR_NAME_MISSING": Case(frm("jane@acme-tools.test")),
    "AUTHOR_NAME_IS_ADDRESS": Case(frm('"jane@acme-tools.test" <jane@acme-tools.test>')),
    "AUTHOR_NAME_OTHER_ADDRESS": Case(
        frm('"ceo@bigfirm.com" <x@acme-tools.test>'), frm('"jane@acme-tools.test" <jane@acme-tools.test>')
    ),
    "AUTHOR_NAME_OTHER_SITE": Case(frm('"bigfirm.com" <x@acme-tools.test>'), frm('"Acme.test" <x@acme-tools.test>')),
    "AUTHOR_NAME_UNDERSCORES": Case(frm("Smart_TV_Stick <x@acme-tools.test>")),
    "AUTHOR_NAME_FITS_AUTHENTIC": Case(frm("Acme Tools <news@acme-tools.test>", "acme-tools.test")),
    "AUTHOR_NAME_FITS_DOMAIN": Case(frm("Acme Tools <news@acme-tools.test>"), USUAL),
    "AUTHOR_NAME_UNLIKE_DOMAIN": Case(frm("Blue River <x@acme-tools.test>")),
    "AUTHOR_NAME_GENERIC": Case(
        failed(frm("Mail Administrator <x@ringring.test>")), frm("Customer Support <x@ringring.test>", "ringring.test")
    ),
    "AUTHOR_LOCAL_FITS_NAME": Case(USUAL, frm("Blue River <jane@acme-tools.test>")),
    "AUTHOR_LOCAL_ROLE": Case(frm("Acme <noreply@acme-tools.test>")),
    "AUTHOR_LOCAL_RANDOM": Case(frm("A <zxqkvjwpt@acme-tools.test>")),
    "AUTHOR_LOCAL_DIGITS": Case(frm("A <mail48213@acme-tools.test>")),
    "AUTHOR_LOCAL_LONG": Case(frm(f"A <{'long.' * 7}x@acme-tools.test>")),
    "AUTHOR_LOCAL_BRAND": Case(frm("A <paypal@acme-tools.test>"), frm("A <paypal@paypal.com>")),
    "FREEMAIL_FIRM": Case(frm("Accounts Department <acc1@gmail.com>"), PERSON),
    "LOOKALIKE_NAME": Case(frm("Paypa1 <x@ringring.test>"), BANK),
}
ADDRESSES = {
    "REPLY_TO_OWN": Case(having("Reply-To: <office@acme-tools.test>"), having("Reply-To: <a@other.test>")),
    "REPLY_TO_SERVICE": Case(having("Reply-To: <r1@acme.zendesk.com>")),
    "REPLY_TO_FOREIGN": Case(having("Reply-To: <a@other.test>"), having("Reply-To: <a@acme-tools.test>")),
    "REPLY_TO_FREEMAIL": Case(having("Reply-To: <a@gmail.com>"), replace(PERSON, fields=("Reply-To: <a@gmail.com>",))),
    "REPLY_TO_OTHER_FREEMAIL": Case(replace(PERSON, fields=("Reply-To: <a@gmx.de>",)), having("Reply-To: <a@gmx.de>")),
    "LOOKALIKE_REPLY_TO": Case(having("Reply-To: <a@paypal-service.com>"), having("Reply-To: <a@paypal.com>")),
    "SENDER_MALFORMED": Case(having("Sender: qwertzuiop"), having("Sender: <a@other.test>")),
    "SENDER_FOREIGN": Case(having("Sender: <a@other.test>"), having("Sender: <a@acme-tools.test>")),
    "RECIPIENT_UNDISCLOSED": Case(having("To: undisclosed-recipients:;")),
    "FREEMAIL_TO_UNDISCLOSED": Case(
        replace(PERSON, fields=("To: undisclosed-recipients:;",)), having("To: undisclosed-recipients:;")
    ),
    "RECIPIENT_IS_AUTHOR": Case(having("To: jane.doe@acme-tools.test")),
    "RETURN_PATH_OWN": Case(USUAL, replace(USUAL, mail_from="b@other.test")),
    "RETURN_PATH_SERVICE": Case(replace(USUAL, mail_from="b@u1.sendgrid.net")),
    "RETURN_PATH_FOREIGN": Case(replace(USUAL, mail_from="b@other.test")),
    "MESSAGE_ID_OWN": Case(USUAL, having("Message-ID: <1@other.test>")),
    "MESSAGE_ID_SERVICE": Case(
        replace(having("Message-ID: <1@eu-west-1.amazonses.com>"), results=PASSED("amazonses.com")),
        having("Message-ID: <1@eu-west-1.amazonses.com>"),
    ),
    "MESSAGE_ID_OTHER_SERVICE": Case(
        having("Message-ID: <1@smtp-relay.sendinblue.com>"),
        unknown(having("Message-ID: <1@smtp-relay.sendinblue.com>")),
    ),
    "MESSAGE_ID_MAILBOX": Case(having("Message-ID: <1@mail.gmail.com>")),
    "MESSAGE_ID_BARE": Case(having("Message-ID: <1@geopod-ismtpd>"), having("Message-ID: <1@mx.google.com>")),
    "MESSAGE_ID_RANDOM": Case(having("Message-ID: <1@jv3a4awsri7hpa287p>"), having("Message-ID: <1@desktop>")),
    "MESSAGE_ID_FOREIGN": Case(having("Message-ID: <1@other.test>")),
}
BRANDS = {
    "BRAND_AUTHENTIC": Case(BANK, failed(BANK)),
    "BRAND_FORGED": Case(failed(BANK), unknown(BANK)),
    "BRAND_UNVERIFIED": Case(unknown(BANK), BANK),
    "BRAND_FOREIGN_NAME": Case(STRANGER, BANK),
    "BRAND_FOREIGN_SUBJECT": Case(
        replace(USUAL, subject="Your PayPal account"), replace(USUAL, subject="Paid by PayPal")
    ),
    "BRAND_FOREIGN_BODY": Case(with_html("Dear PayPal customer"), with_html(f"{'Lorem ' * 80} PayPal")),
    "BRAND_FOREIGN_LOGO": Case(with_html('<img alt="DHL" src="x">'), with_html('<img alt="Facebook" src="x">')),
    "BRAND_NOT_LINKED": Case(STRANGER, replace(STRANGER, html='<a href="https://www.paypal.com/">PayPal</a>')),
    "BRAND_LINKED": Case(replace(STRANGER, html='<a href="https://www.paypal.com/">PayPal</a>'), STRANGER),
    "BRAND_LINKED_WITH_OTHERS": Case(
        replace(STRANGER, html='<a href="https://www.paypal.com/">PayPal</a><a href="https://evil.test/">Log in</a>'),
        STRANGER,
    ),
    "BRAND_IMAGES": Case(replace(STRANGER, html='<img src="https://www.paypalobjects.com/logo.png">'), BANK),
    "BRAND_FOREIGN_UNAUTHENTIC": Case(failed(STRANGER), STRANGER),
    "BRAND_FREEMAIL": Case(frm("PayPal <pp1@gmail.com>", "gmail.com"), PERSON),
    "LOOKALIKE_SUBJECT": Case(
        replace(USUAL, subject="Your Paypa1 account"), replace(USUAL, subject="Your PayPal account")
    ),
}
LINKS = {
    "LINKS_NONE": Case(with_html("Hello"), USUAL),
    "LINKS_ALL_OWN": Case(unknown(USUAL), USUAL),
    "LINKS_ALL_OWN_AUTHENTIC": Case(USUAL, failed(USUAL)),
    "LINKS_MOST_OWN": Case(
        failed(with_html('<a href="https://acme-tools.test/">A page</a><a href="https://other.test/">B page</a>')),
        USUAL,
    ),
    "LINKS_MOST_OWN_AUTHENTIC": Case(
        with_html('<a href="https://acme-tools.test/">A page</a><a href="https://other.test/">B page</a>')
    ),
    "LINKS_SOME_OWN": Case(
        with_html(
            '<a href="https://acme-tools.test/">A</a><a href="https://b.test/">B</a><a href="https://c.test/">C</a>'
        )
    ),
    "LINKS_NONE_OWN": Case(to("https://other.test/"), frm("Jane Doe <jane.doe@gmail.com>")),
    "LINKS_NONE_OWN_UNAUTHENTIC": Case(failed(to("https://other.test/")), to("https://other.test/")),
    "LINKS_ALL_SERVICE": Case(to("https://ct.sendgrid.net/x")),
    "LINKS_ALL_KNOWN": Case(to("https://www.paypal.com/x")),
    "LINKS_ONE_FOREIGN": Case(to("https://other.test/"), with_html(FIVE)),
    "LINKS_ONE_FOREIGN_URL": Case(
        to("https://other.test/"), with_html('<a href="https://b.test/1">B</a><a href="https://b.test/2">B</a>')
    ),
    "LINKS_ALL_ANYBODY": Case(to("https://bit.ly/x"), to("https://other.test/")),
    "LINKS_MANY_FOREIGN": Case(with_html(FIVE)),
    "LINK_SHORTENED": Case(to("https://bit.ly/x")),
    "LINK_FREE_PAGE": Case(to("https://login-1.pages.dev/")),
    "LINK_FILE_HOST": Case(to("https://storage.googleapis.com/b/x.html")),
    "LINK_OTHER_SERVICE": Case(
        to("https://u1.ct.sendgrid.net/x"), replace(to("https://u1.ct.sendgrid.net/x"), results=PASSED("sendgrid.net"))
    ),
    "LINK_DOMAIN_CHEAP": Case(to("https://prize.click/"), to("https://prize.com/")),
    "LINK_DOMAIN_RANDOM": Case(to("https://bxkbfdczxlqpq.com/"), to("https://sparksuite.com/")),
    "LOOKALIKE_LINK": Case(to("https://paypal-login.com/"), to("https://www.paypal.com/")),
    "LOOKALIKE_LINK_HOST": Case(to("https://www.paypal.com.evil.test/"), to("https://paypal.zendesk.com/")),
    "CALL_OWN": Case(USUAL, to("https://other.test/")),
    "CALL_ANYBODY": Case(to("https://bit.ly/x"), USUAL),
    "CALL_FOREIGN": Case(to("https://other.test/"), to("https://other.test/", "View in browser")),
    "FREEMAIL_CALL": Case(
        replace(PERSON, html='<a href="https://other.com/">Click here</a>'),
        replace(PERSON, html='<a href="https://other.com/">https://other.com/</a>'),
    ),
    "LINK_TEXT_TRACKED": Case(to("https://acme-tools.test/t?1", "www.other.test")),
    "LINK_TEXT_ELSEWHERE": Case(to("https://evil.test/", "www.other.com"), to("https://www.other.com/", "other.com")),
    "LINK_TEXT_BRAND_ELSEWHERE": Case(
        to("https://evil.test/", "https://www.paypal.com/login"), to("https://evil.test/", "PayPal")
    ),
    "IMAGES_OWN": Case(with_html('<img src="https://img.acme-tools.test/a.png">')),
    "IMAGES_FOREIGN": Case(with_html('<img src="https://img.other.test/a.png">')),
    "IMAGES_ANYBODY": Case(with_html('<img src="https://i.imgur.com/a.png">')),
    "IMAGES_OF_BRAND": Case(with_html('<img src="https://www.paypalobjects.com/a.png">')),
}
TEXT = {
    "TEXT_NAMES_AUTHOR": Case(with_html("Best wishes from Acme Tools"), with_html("Best wishes")),
    "TEXT_ADDRESS_OWN": Case(with_html("Write to office@acme-tools.test"), with_html("From jane.doe@acme-tools.test")),
    "TEXT_ADDRESS_FREEMAIL": Case(
        with_html("Write to barrister.x@gmail.com"), replace(PERSON, html="Write to barrister.x@gmail.com")
    ),
    "TEXT_ADDRESS_OTHER_FREEMAIL": Case(
        replace(PERSON, html='<a href="mailto:barrister.x@gmx.de?subject=y">Write</a>'), with_html("barrister.x@gmx.de")
    ),
    "LINKS_FIT_NAME": Case(replace(to("https://blueriver.test/"), author="Blue River <x@acme-tools.test>")),
    "REPLY_IN_THREAD": Case(
        replace(USUAL, subject="Re: Minutes", fields=("In-Reply-To: <1@b.test>",)),
        replace(USUAL, subject="Re: Minutes"),
    ),
    "REPLY_WITHOUT_THREAD": Case(replace(USUAL, subject="AW: Minutes"), replace(USUAL, subject="Reply by Monday")),
}
BULK = {
    "UNSUBSCRIBE_ONE_CLICK": Case(SHOP, NEWS),
    "UNSUBSCRIBE_ONE_CLICK_FOREIGN": Case(NEWS, SHOP),
    "UNSUBSCRIBE_OWN": Case(SHOP, NEWS),
    "UNSUBSCRIBE_FOREIGN": Case(NEWS, SHOP),
    "UNSUBSCRIBE_FROM_LIST": Case(
        having("List-Unsubscribe: <https://lists.other.test/u>", "List-Id: <a.other.test>"), NEWS
    ),
    "UNSUBSCRIBE_AT_OTHERS": Case(having("List-Unsubscribe: <https://www.netflix.com/u>"), NEWS),
    "UNSUBSCRIBE_NOT_HTTPS": Case(having("List-Unsubscribe: <http://www.acme-tools.test/u>"), SHOP),
    "UNSUBSCRIBE_BY_MAIL": Case(having("List-Unsubscribe: <mailto:u@acme-tools.test?subject=u>"), SHOP),
    "UNSUBSCRIBE_MALFORMED": Case(having("List-Unsubscribe: write to us"), SHOP),
    "UNSUBSCRIBE_LINK_OWN": Case(to("https://www.acme-tools.test/u", "Unsubscribe")),
    "UNSUBSCRIBE_LINK_FOREIGN": Case(to("https://other.test/u", "Abmelden")),
    "BULK_COMPLETE": Case(SHOP, failed(SHOP)),
    "BULK_UNSIGNED": Case(SHOP, having(*SHOP.fields, *SIGNED.fields)),
    "BULK_UNAUTHENTIC": Case(failed(SHOP), unknown(SHOP)),
    "BULK_WITHOUT_UNSUBSCRIBE": Case(PROMO, USUAL),
    "FEEDBACK_ID": Case(having("Feedback-ID: 1:2:3:acme"), having("Feedback-ID: acme")),
    "FEEDBACK_ID_ODD": Case(having("Feedback-ID: acme"), having("Feedback-ID: 1.eu-west-1.x=:AmazonSES")),
    "FEEDBACK_ID_FALSE": Case(
        failed(having("Feedback-ID: 1.eu-west-1.x=:AmazonSES")), having("Feedback-ID: 1.eu-west-1.x=:AmazonSES")
    ),
    "LIST_ID_OWN": Case(having("List-Id: <news.acme-tools.test>"), having("List-Id: <news.other.test>")),
    "LIST_ID_OTHER": Case(having("List-Id: <news.other.test>"), having("List-Id: <news.acme-tools.test>")),
    "PRECEDENCE_BULK": Case(having("Precedence: bulk"), having("Precedence: first-class")),
}
CASES: Mapping[str, Case] = {**VOUCHING, **NAMES, **ADDRESSES, **BRANDS, **LINKS, **TEXT, **BULK}
