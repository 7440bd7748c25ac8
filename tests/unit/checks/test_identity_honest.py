"""Honest mail of many kinds, as its senders send it: no fact that weighs against a mail may hold of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mailguard.checks.identity_symbols import SYMBOLS
from tests.unit.checks.identities import PASSED, mail, names

GRAVE = 0.4
"""Points from which a fact weighs against a mail."""


@dataclass(frozen=True)
class Honest:
    """A mail: who sends it, who signs and bounces it, its fields and links."""

    author: str
    subject: str
    signers: tuple[str, ...]
    mail_from: str
    html: str
    fields: tuple[str, ...] = ()
    allowed: frozenset[str] = frozenset()


def link(url: str, text: str) -> str:
    return f'<a href="{url}">{text}</a> '


FOOTER = (
    link("https://www.facebook.com/acme", "Facebook")
    + link("https://apps.apple.com/app/id1", "App Store")
    + link("https://www.instagram.com/acme", "Instagram")
)
MAILS = {
    "offers of a shop": Honest(
        "Radio Huber <angebote@radio-huber.de>",
        "Samsung Galaxy und Sony WH-1000 zum halben Preis",
        ("radio-huber.de",),
        "angebote@radio-huber.de",
        '<img alt="Samsung" src="https://www.radio-huber.de/s.png">Samsung, Sony, LG. '
        + link("https://www.radio-huber.de/galaxy", "Zum Angebot")
        + link("https://www.radio-huber.de/abmelden", "Abmelden"),
    ),
    "digest of a forge's project": Honest(
        "Buildbot <buildbot@acme-tools.example>",
        "GitHub mirror out of date",
        ("acme-tools.example",),
        "buildbot@acme-tools.example",
        "Slack and GitHub " + link("https://ci.acme-tools.example/1", "Build 1"),
    ),
    "notice of a file shared by a file service": Honest(
        '"Helen Brandt (via SharePoint)" <no-reply@sharepointonline.com>',
        'Helen Brandt shared "Rota 12" with you',
        ("sharepointonline.com",),
        "no-reply@sharepointonline.com",
        link("https://northwindlab.sharepoint.com/:x:/s/projects/eaab", "Open") + "Microsoft respects your privacy.",
    ),
    "notification of a forge": Honest(
        "octo cat <notifications@github.com>",
        "Re: [acme/tool] Fix the build (PR #7)",
        ("github.com",),
        "noreply@github.com",
        link("https://github.com/acme/tool/pull/7", "view it on GitHub"),
        (
            "Message-ID: <acme/tool/pull/7/c1@github.com>",
            "Reply-To: acme/tool <reply+ABC@reply.github.com>",
            "List-ID: acme/tool <tool.acme.github.com>",
            "List-Unsubscribe: <mailto:unsub+ABC@reply.github.com>, <https://github.com/notifications/unsubscribe/ABC>",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
            "Precedence: list",
            "In-Reply-To: <acme/tool/pull/7@github.com>",
        ),
    ),
    "order at a marketplace": Honest(
        '"Amazon.de" <bestellbestaetigung@amazon.de>',
        "Bestellt: Kaffeemühle",
        ("amazon.de", "amazonses.com"),
        "20240601abc@bounces.amazon.de",
        link("https://www.amazon.de/gp/css/order", "Bestellung ansehen")
        + '<img src="https://m.media-amazon.com/a.png" alt="Amazon">',
        ("Message-ID: <0102018f@eu-west-1.amazonses.com>", "Feedback-ID: ::1.eu-west-1.abc=:AmazonSES"),
    ),
    "receipt of a payment": Honest(
        '"service@paypal.de" <service@paypal.de>',
        "Beleg für Ihre Zahlung an Bäckerei Huber",
        ("paypal.de",),
        "service@paypal.de",
        link("https://www.paypal.com/activity", "Zahlung ansehen")
        + '<img src="https://www.paypalobjects.com/l.png" alt="PayPal">',
    ),
    "parcel on its way": Honest(
        "DHL Paket <noreply@dhl.de>",
        "Ihr DHL Paket kommt heute",
        ("dhl.de",),
        "noreply@dhl.de",
        link("https://www.dhl.de/de/privatkunden/verfolgen.html?p=1", "Sendung verfolgen") + FOOTER,
    ),
    "shop that ships with a parcel service": Honest(
        "Velo Huber <bestellung@velo-huber.de>",
        "Ihre Bestellung 4711 wurde mit DHL versandt",
        ("velo-huber.de",),
        "bestellung@velo-huber.de",
        "Bezahlt mit PayPal. "
        + link("https://www.velo-huber.de/konto", "Bestellung ansehen")
        + link("https://www.dhl.de/v?p=1", "Sendung bei DHL verfolgen"),
    ),
    "newsletter by Klaviyo": Honest(
        "Katzenglück <shop@katzenglueck.de>",
        "20 % auf alles",
        ("send.katzenglueck.de", "klaviyomail.com"),
        "bounces+1-abc@send.katzenglueck.de",
        link("https://ctrk.klclick2.com/l/1", "Jetzt stöbern") + link("https://ctrk.klclick2.com/l/2", "Abmelden"),
        (
            "Message-ID: <x1y2@geopod-ismtpd-1>",
            "List-Unsubscribe: <https://manage.kmail-lists.com/subscriptions/unsubscribe?a=1>",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        ),
    ),
    "newsletter by Mailchimp": Honest(
        "Walter <walter@schreibstube.example>",
        "Drei Tipps",
        ("schreibstube.example", "mailchimpapp.net"),
        "bounce-mc.us1_1-walter=client@mail5.suw111.mcdlv.net",
        link("https://schreibstube.us3.list-manage.com/track/click?u=1", "Weiterlesen"),
        (
            "Message-ID: <1.2@mail5.suw111.mcdlv.net>",
            "List-Unsubscribe: <https://schreibstube.us3.list-manage.com/unsubscribe?u=1>",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
            "List-ID: 1mc list <1.2.list-id.mcsv.net>",
            "Feedback-ID: 2:2.1:us3:mc",
        ),
    ),
    "order at a shop of Shopify": Honest(
        "Töpferei Blau <store+1234@t.shopifyemail.com>",
        "Order #1001 confirmed",
        ("shopifyemail.com",),
        "bounces+1@em.shopifyemail.com",
        link("https://toepferei-blau.de/orders/1", "View your order"),
        ("Reply-To: Töpferei Blau <toepfereiblau@gmail.com>", "Message-ID: <abc@shopify.com>"),
        frozenset({"LINKS_NONE_OWN", "LINKS_ONE_FOREIGN", "CALL_FOREIGN"}),
    ),
    "colleague of a firm at Google": Honest(
        "Jane Doe <jane.doe@northgate-clinic.co.uk>",
        "Minutes of Monday",
        ("northgate-clinic-co-uk.20230601.gappssmtp.com", "northgate-clinic.co.uk"),
        "jane.doe@northgate-clinic.co.uk",
        link("https://www.northgate-clinic.co.uk", "northgate-clinic.co.uk")
        + link("https://www.linkedin.com/in/jane", "LinkedIn"),
        ("Message-ID: <CAF123@mail.gmail.com>",),
    ),
    "security alert of an account": Honest(
        "Google <no-reply@accounts.google.com>",
        "Security alert",
        ("accounts.google.com",),
        "3abc@gaia.bounces.google.com",
        link("https://accounts.google.com/AccountChooser", "Check activity"),
        ("Message-ID: <abc@notifications.google.com>", "Feedback-ID: 127:account-notifier"),
        frozenset({"FEEDBACK_ID_ODD"}),
    ),
    "code of an account": Honest(
        "Microsoft account team <account-security-noreply@accountprotection.microsoft.com>",
        "Your single-use code",
        ("accountprotection.microsoft.com",),
        "account-security-noreply@accountprotection.microsoft.com",
        link("https://account.live.com/Activity", "Review recent activity")
        + link("https://go.microsoft.com/fwlink/", "Privacy statement"),
        ("Message-ID: <ABC@CO1PEPF000044F4.namprd05.prod.outlook.com>",),
    ),
    "document to sign": Honest(
        "Jane Doe via Docusign <dse_na3@docusign.net>",
        "Complete with Docusign: Contract.pdf",
        ("docusign.net",),
        "dse_na3@docusign.net",
        link("https://na3.docusign.net/Signing/EmailStart.aspx?a=1", "Review document"),
        ("Message-ID: <abc@docusign.net>", "Reply-To: Jane Doe <jane@northgate-clinic.co.uk>"),
        frozenset({"REPLY_TO_FOREIGN"}),
    ),
    "ticket of a help desk": Honest(
        "Acme Support <support@acme.zendesk.com>",
        "[Acme] Re: Where is my order?",
        ("zendesk.com",),
        "support@acme.zendesk.com",
        link("https://acme.zendesk.com/hc/requests/1", "Add a comment"),
        ("Message-ID: <1_sprut@zendesk.com>",),
    ),
    "newsletter on Substack": Honest(
        "Jane from Field Notes <fieldnotes@substack.com>",
        "On rivers",
        ("substack.com",),
        "bounce+1@mg-d1.substack.com",
        link("https://substack.com/redirect/1", "Read in app")
        + link("https://fieldnotes.substack.com/p/on-rivers", "On rivers"),
        (
            "List-Unsubscribe: <https://fieldnotes.substack.com/action/disable_email?t=1>",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        ),
    ),
    "receipt by Stripe": Honest(
        "Acme Software <receipts+acct_1@stripe.com>",
        "Your receipt from Acme Software #1-2",
        ("stripe.com",),
        "bounces+1@bounce.stripe.com",
        link("https://dashboard.stripe.com/receipts/1", "View in browser")
        + link("https://pay.stripe.com/receipts/1/pdf", "Download receipt"),
    ),
    "association without a signature of its own": Honest(
        "Asylforum <news@diakonie-musterstadt.de>",
        "Januar-Newsletter",
        ("crsend.com", "1.c.crsend.com"),
        "bounce-1@bounce-eu2.crsend.com",
        link("https://1.seu2.cleverreach.com/c/1", "Weiterlesen")
        + link("https://1.seu2.cleverreach.com/rmftlp.php", "Abmelden"),
        (
            "Message-ID: <1@bounce-eu2.crsend.com>",
            "List-Unsubscribe: <https://1.seu2.cleverreach.com/rmftlp.php?c=0>",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        ),
        frozenset({"AUTHOR_UNAUTHENTIC", "BULK_UNAUTHENTIC"}),
    ),
    "branch of a savings bank": Honest(
        "Sparkasse Musterstadt <info@sparkasse-musterstadt.de>",
        "Neues in Ihrem Elektronischen Postfach",
        ("sparkasse-musterstadt.de",),
        "bounce@sparkasse-musterstadt.de",
        link("https://www.sparkasse-musterstadt.de/banking", "Zum Postfach"),
    ),
    "provider of mailboxes itself": Honest(
        "Orange <noreply@orange.fr>",
        "Votre facture Orange est disponible",
        ("orange.fr",),
        "noreply@orange.fr",
        link("https://espace-client.orange.fr/facture", "Voir la facture"),
    ),
    "post on a mailing list": Honest(
        "Jane Doe <jane.doe@gmail.com>",
        "[kernel-talk] Re: patches",
        ("lists.kernel-talk.org",),
        "kernel-talk-bounces@lists.kernel-talk.org",
        link("https://lists.kernel-talk.org/options", "options"),
        (
            "List-Id: talk <kernel-talk.lists.kernel-talk.org>",
            "List-Unsubscribe: <https://lists.kernel-talk.org/options>",
            "Message-ID: <CAF@mail.gmail.com>",
        ),
        frozenset({"AUTHOR_UNAUTHENTIC", "LINKS_ONE_FOREIGN"}),
    ),
    "notice of a Japanese shop": Honest(
        "楽天市場 <order@rakuten.co.jp>",
        "【楽天市場】注文内容ご確認",
        ("rakuten.co.jp",),
        "order@rakuten.co.jp",
        link("https://order.my.rakuten.co.jp/", "購入履歴") + '<img src="https://r.r10s.jp/x.png" alt="楽天">',
    ),
    "newsletter of a magazine about brands": Honest(
        "Tech Weekly <news@techweekly.example>",
        "Netflix raises prices, Apple and Microsoft settle",
        ("techweekly.example",),
        "b@techweekly.example",
        "Netflix raises its prices. "
        + link("https://techweekly.example/a", "Read on")
        + link("https://techweekly.example/u", "Unsubscribe"),
        ("List-Unsubscribe: <https://techweekly.example/u>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click"),
        frozenset({"BRAND_FOREIGN_SUBJECT", "BRAND_FOREIGN_BODY", "BRAND_NOT_LINKED"}),
    ),
}


@pytest.mark.parametrize("kind", MAILS)
async def test_honest_mail_has_nothing_grave(kind: str) -> None:
    one = MAILS[kind]
    raw = mail(one.author, one.subject, one.html, *one.fields)
    signed = b"".join(b"DKIM-Signature: v=1; d=%s; s=x\r\n" % domain.encode() for domain in one.signers)
    found = await names(signed + raw, PASSED(*one.signers), mail_from=one.mail_from)
    assert {name for name in found if SYMBOLS[name][0] >= GRAVE} <= one.allowed


@pytest.mark.parametrize("kind", MAILS)
async def test_honest_mail_has_nothing_grave_where_nothing_could_be_looked_up(kind: str) -> None:
    one = MAILS[kind]
    raw = mail(one.author, one.subject, one.html, *one.fields)
    signed = b"".join(b"DKIM-Signature: v=1; d=%s; s=x\r\n" % domain.encode() for domain in one.signers)
    found = await names(signed + raw, {}, mail_from=one.mail_from)
    assert {name for name in found if SYMBOLS[name][0] >= GRAVE} <= one.allowed
