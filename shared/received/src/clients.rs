//! Mails as mail clients and some servers write them, and what is read of them. The addresses are made up.

use crate::{Nature, Received, attachment, read};

/// A mail, and what it says.
pub struct Sample {
    pub name: &'static str,
    /// With `\n` at the end of a line.
    pub mail: &'static str,
    nature: Nature,
    from: &'static str,
    thread: &'static str,
    snippet: &'static str,
    attachments: &'static [&'static str],
    html: bool,
}

pub const SAMPLES: [Sample; 21] = [
    Sample {
        name: "Gmail",
        mail: r#"Return-Path: <grace.hopper@gmail.example>
MIME-Version: 1.0
References: <c1.step1@mail.tenantry.example>
In-Reply-To: <c1.step1@mail.tenantry.example>
From: Grace Hopper <grace.hopper@gmail.example>
Date: Tue, 2 Jun 2026 09:14:03 -0400
Message-ID: <CAF=abc+123@mail.gmail.example>
Subject: Re: A quick question
To: Ada Lovelace <reply+abc@in.tenantry.example>
Content-Type: multipart/alternative; boundary="000000000000a1b2c3"

--000000000000a1b2c3
Content-Type: text/plain; charset="UTF-8"
Content-Transfer-Encoding: quoted-printable

Sounds good =E2=80=93 how about Thursday at 3?

On Tue, Jun 2, 2026 at 9:00=E2=80=AFAM Ada Lovelace <
ada@tenantry.example> wrote:

> Hi Grace,
> do you have ten minutes this week?
>

--000000000000a1b2c3
Content-Type: text/html; charset="UTF-8"
Content-Transfer-Encoding: quoted-printable

<div dir=3D"ltr">Sounds good =E2=80=93 how about Thursday at 3?</div><br><div class=3D"gmail_quote"><div dir=3D"ltr" class=3D"gmail_attr">On Tue, Jun 2, 2026 at 9:00=E2=80=AFAM Ada Lovelace &lt;<a href=3D"mailto:ada@tenantry.example">ada@tenantry.example</a>&gt; wrote:<br></div><blockquote class=3D"gmail_quote" style=3D"margin:0px">Hi Grace,<br>do you have ten minutes this week?<img src=3D"https://open.tenantry.example/e/o/x" width=3D"1" height=3D"1"></blockquote></div>

--000000000000a1b2c3--
"#,
        nature: Nature::Person,
        from: "Grace Hopper <grace.hopper@gmail.example>",
        thread: "a quick question",
        snippet: "Sounds good – how about Thursday at 3?",
        attachments: &[],
        html: true,
    },
    Sample {
        name: "Outlook desktop",
        mail: r#"Return-Path: <j.doe@contoso.example>
From: "Doe, Jane" <j.doe@contoso.example>
To: Ada Lovelace <reply+abc@in.tenantry.example>
Subject: RE: [External] A quick question
Thread-Topic: A quick question
Thread-Index: AQHa1
Date: Tue, 2 Jun 2026 13:14:03 +0000
Message-ID: <AM0PR01MB1234@AM0PR01.prod.outlook.example>
In-Reply-To: <c1.step1@mail.tenantry.example>
X-MS-Has-Attach: yes
Auto-Submitted: no
X-Auto-Response-Suppress: DR, OOF, AutoReply
Content-Type: multipart/mixed;
	boundary="_004_AM0PR01_"
MIME-Version: 1.0

--_004_AM0PR01_
Content-Type: multipart/related;
	boundary="_003_AM0PR01_";
	type="multipart/alternative"

--_003_AM0PR01_
Content-Type: multipart/alternative;
	boundary="_000_AM0PR01_"

--_000_AM0PR01_
Content-Type: text/plain; charset="Windows-1252"
Content-Transfer-Encoding: quoted-printable

Hello Ada,

please see the offer =96 page 2.

Kind regards
Jane

From: Ada Lovelace <ada@tenantry.example>
Sent: Tuesday, June 2, 2026 3:00 PM
To: Doe, Jane <j.doe@contoso.example>
Subject: [External] A quick question

Hi Jane,

--_000_AM0PR01_
Content-Type: text/html; charset="Windows-1252"
Content-Transfer-Encoding: quoted-printable

<html xmlns:o=3D"urn:schemas-microsoft-com:office:office"><head><style><!-- p.MsoNormal {margin:0cm} --></style></head><body lang=3D"EN-US"><div class=3D"WordSection1"><p class=3D"MsoNormal">Hello Ada,<o:p></o:p></p><p class=3D"MsoNormal">please see the offer =96 page 2.<o:p></o:p></p><p class=3D"MsoNormal"><img width=3D"100" src=3D"cid:image001.png@01DA"></p></div></body></html>

--_000_AM0PR01_--

--_003_AM0PR01_
Content-Type: image/png; name="image001.png"
Content-Description: image001.png
Content-Disposition: inline; filename="image001.png"; size=8
Content-ID: <image001.png@01DA>
Content-Transfer-Encoding: base64

iVBORw0KGgo=

--_003_AM0PR01_--

--_004_AM0PR01_
Content-Type: application/pdf; name="Offer.pdf"
Content-Disposition: attachment; filename="Offer.pdf"
Content-Transfer-Encoding: base64

JVBERi0xLjQK

--_004_AM0PR01_--
"#,
        nature: Nature::Person,
        from: "Doe, Jane <j.doe@contoso.example>",
        thread: "a quick question",
        snippet: "Hello Ada, please see the offer – page 2. Kind regards Jane",
        attachments: &["image001.png image/png 8", "Offer.pdf application/pdf 9"],
        html: true,
    },
    Sample {
        name: "Outlook.com",
        mail: r#"Return-Path: <linus@outlook.example>
From: =?utf-8?B?TGludXMgTcO8bGxlcg==?= <linus@outlook.example>
To: "reply+abc@in.tenantry.example" <reply+abc@in.tenantry.example>
Subject: =?utf-8?Q?AW:_Eine_kurze_Frage_=C3=BCber_Tee?=
Date: Tue, 2 Jun 2026 13:20:00 +0000
Message-ID: <DB7PR02MB@DB7PR02.eurprd02.prod.outlook.example>
References: <c1.step1@mail.tenantry.example>
 <DB7PR02MA@DB7PR02.eurprd02.prod.outlook.example>
In-Reply-To: <DB7PR02MA@DB7PR02.eurprd02.prod.outlook.example>
Content-Type: text/html; charset="utf-8"
Content-Transfer-Encoding: base64
MIME-Version: 1.0

PGh0bWw+PGhlYWQ+PG1ldGEgaHR0cC1lcXVpdj0iQ29udGVudC1UeXBlIj48L2hlYWQ+PGJvZHk+
PGRpdiBzdHlsZT0iY29sb3I6cmVkIj5KYSwgZ2VybmUhPC9kaXY+PGhyPjxkaXYgaWQ9ImRpdlJw
bHlGd2RNc2ciPjxiPlZvbjo8L2I+IEFkYSAmbHQ7YWRhQHRlbmFudHJ5LmV4YW1wbGUmZ3Q7PGJy
PjxiPkdlc2VuZGV0OjwvYj4gRGllbnN0YWcsIDIuIEp1bmkgMjAyNjxicj48Yj5Bbjo8L2I+IExp
bnVzPGJyPjxiPkJldHJlZmY6PC9iPiBFaW5lIGt1cnplIEZyYWdlPC9kaXY+PGRpdj5IYWxsbyBM
aW51czwvZGl2PjwvYm9keT48L2h0bWw+
"#,
        nature: Nature::Person,
        from: "Linus Müller <linus@outlook.example>",
        thread: "eine kurze frage über tee",
        snippet: "Ja, gerne!",
        attachments: &[],
        html: true,
    },
    Sample {
        name: "Apple Mail",
        mail: r#"Return-Path: <tim@icloud.example>
From: Tim Berners <tim@icloud.example>
Content-Type: multipart/alternative;
	boundary="Apple-Mail=_5A1"
Mime-Version: 1.0 (Mac OS X Mail 16.0 \(3774.600.62\))
Subject: Re: A quick question
Date: Tue, 2 Jun 2026 15:22:10 +0200
References: <c1.step1@mail.tenantry.example>
To: Ada Lovelace <reply+abc@in.tenantry.example>
In-Reply-To: <c1.step1@mail.tenantry.example>
Message-Id: <5A1B2C3D-0000@icloud.example>
X-Mailer: Apple Mail (2.3774.600.62)


--Apple-Mail=_5A1
Content-Transfer-Encoding: 7bit
Content-Type: text/plain;
	charset=us-ascii

Not this month, sorry. The plan is attached.


> On 2. Jun 2026, at 15:00, Ada Lovelace <ada@tenantry.example> wrote:
> 
> Hi Tim,


--Apple-Mail=_5A1
Content-Type: multipart/mixed;
	boundary="Apple-Mail=_5A2"


--Apple-Mail=_5A2
Content-Transfer-Encoding: 7bit
Content-Type: text/html;
	charset=us-ascii

<html><body>Not this month, sorry. The plan is attached.<br></body></html>
--Apple-Mail=_5A2
Content-Disposition: attachment;
	filename*=utf-8''Pl%C3%A4ne%202026.pdf
Content-Type: application/pdf;
	x-unix-mode=0644;
	name="=?utf-8?Q?Pl=C3=A4ne_2026=2Epdf?="
Content-Transfer-Encoding: base64

JVBERi0xLjQK
--Apple-Mail=_5A2
Content-Transfer-Encoding: 7bit
Content-Type: text/html;
	charset=us-ascii

<html><body><br><div><blockquote type="cite"><div>On 2. Jun 2026, at 15:00, Ada Lovelace wrote:</div></blockquote></div></body></html>
--Apple-Mail=_5A2--

--Apple-Mail=_5A1--
"#,
        nature: Nature::Person,
        from: "Tim Berners <tim@icloud.example>",
        thread: "a quick question",
        snippet: "Not this month, sorry. The plan is attached.",
        attachments: &["Pläne 2026.pdf application/pdf 9"],
        html: true,
    },
    Sample {
        name: "Thunderbird",
        mail: r#"Return-Path: <edsger@uni.example>
Message-ID: <0b0e8a1c-7f1d-4a4e-9a56-1@uni.example>
Date: Tue, 2 Jun 2026 15:30:00 +0200
MIME-Version: 1.0
User-Agent: Mozilla Thunderbird
Subject: Re: A quick question
To: Ada Lovelace <reply+abc@in.tenantry.example>
References: <c1.step1@mail.tenantry.example>
Content-Language: en-US
From: "Edsger W. Dijkstra" <edsger@uni.example>
In-Reply-To: <c1.step1@mail.tenantry.example>
Content-Type: text/plain; charset=UTF-8; format=flowed
Content-Transfer-Encoding: 8bit

Am 02.06.26 um 15:00 schrieb Ada Lovelace:
> Hi Edsger,
> do you have ten minutes this week?

Yes, on Friday. Ask for me at the desk.

-- 
Prof. Dr. E. W. Dijkstra
Room 2.14
"#,
        nature: Nature::Person,
        from: "Edsger W. Dijkstra <edsger@uni.example>",
        thread: "a quick question",
        snippet: "Yes, on Friday. Ask for me at the desk.",
        attachments: &[],
        html: false,
    },
    Sample {
        name: "Yahoo",
        mail: r#"Return-Path: <katherine@yahoo.example>
Date: Tue, 2 Jun 2026 13:31:00 +0000 (UTC)
From: Katherine Johnson <katherine@yahoo.example>
To: Ada Lovelace <reply+abc@in.tenantry.example>
Message-ID: <1234567890.987654.1780407060000@mail.yahoo.example>
In-Reply-To: <c1.step1@mail.tenantry.example>
References: <c1.step1@mail.tenantry.example> <1234567890.987654.1780407060000.ref@mail.yahoo.example>
Subject: Re: A quick question
MIME-Version: 1.0
Content-Type: multipart/alternative; 
	boundary="----=_Part_1_2.3"
X-Mailer: WebService/1.1 YMailNorrin

------=_Part_1_2.3
Content-Type: text/plain; charset=UTF-8
Content-Transfer-Encoding: 7bit

 Please take me off your list.
    On Tuesday, June 2, 2026 at 03:00:00 PM GMT+2, Ada Lovelace <ada@tenantry.example> wrote:  
 
 > Hi Katherine,
------=_Part_1_2.3
Content-Type: text/html; charset=UTF-8
Content-Transfer-Encoding: 7bit

<html><head></head><body><div class="ydp-yahoo-style-wrap" style="font-size:13px;"><div dir="ltr">Please take me off your list.</div></div></body></html>
------=_Part_1_2.3--
"#,
        nature: Nature::Person,
        from: "Katherine Johnson <katherine@yahoo.example>",
        thread: "a quick question",
        snippet: "Please take me off your list.",
        attachments: &[],
        html: true,
    },
    Sample {
        name: "iPhone",
        mail: r#"Return-Path: <alan@icloud.example>
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable
From: Alan Turing <alan@icloud.example>
Mime-Version: 1.0 (1.0)
Subject: Re: A quick question
Date: Tue, 2 Jun 2026 15:40:00 +0200
Message-Id: <7C0F-0001@icloud.example>
References: <c1.step1@mail.tenantry.example>
In-Reply-To: <c1.step1@mail.tenantry.example>
To: Ada Lovelace <reply+abc@in.tenantry.example>
X-Mailer: iPhone Mail (23F79)

<html><head><meta http-equiv=3D"content-type" content=3D"text/html; charset=3Dutf-8"></head><body dir=3D"auto">Yes please \o/<div><br><blockquote type=3D"cite">On Jun 2, 2026, at 15:00, Ada Lovelace &lt;ada@tenantry.example&gt; wrote:<br><br></blockquote></div><blockquote type=3D"cite"><div dir=3D"ltr">=EF=BB=BFHi Alan,</div></blockquote></body></html>
"#,
        nature: Nature::Person,
        from: "Alan Turing <alan@icloud.example>",
        thread: "a quick question",
        snippet: r"Yes please \o/",
        attachments: &[],
        html: true,
    },
    Sample {
        name: "Exchange out of office",
        mail: r#"Return-Path: <>
From: "Doe, Jane" <j.doe@contoso.example>
To: Ada Lovelace <reply+abc@in.tenantry.example>
Subject: Automatic reply: A quick question
Thread-Topic: A quick question
Date: Tue, 2 Jun 2026 13:00:05 +0000
Message-ID: <oof1@AM0PR01.prod.outlook.example>
References: <c1.step1@mail.tenantry.example>
In-Reply-To: <c1.step1@mail.tenantry.example>
X-Auto-Response-Suppress: All
X-MS-Exchange-Inbox-Rules-Loop: j.doe@contoso.example
auto-submitted: auto-generated
Content-Type: text/plain; charset="us-ascii"

I am out of office until 15 June.
"#,
        nature: Nature::OutOfOffice,
        from: "Doe, Jane <j.doe@contoso.example>",
        thread: "automatic reply: a quick question",
        snippet: "I am out of office until 15 June.",
        attachments: &[],
        html: false,
    },
    Sample {
        name: "Gmail vacation",
        mail: r#"Return-Path: <>
MIME-Version: 1.0
Auto-Submitted: auto-replied
Precedence: bulk
X-Autoreply: yes
In-Reply-To: <c1.step1@mail.tenantry.example>
References: <c1.step1@mail.tenantry.example>
From: Grace Hopper <grace.hopper@gmail.example>
Date: Tue, 2 Jun 2026 09:00:03 -0400
Message-ID: <CAF=vac+123@mail.gmail.example>
Subject: On the boat Re: A quick question
To: reply+abc@in.tenantry.example
Content-Type: text/plain; charset="UTF-8"

Back on Monday.
"#,
        nature: Nature::OutOfOffice,
        from: "Grace Hopper <grace.hopper@gmail.example>",
        thread: "on the boat re: a quick question",
        snippet: "Back on Monday.",
        attachments: &[],
        html: false,
    },
    Sample {
        name: "mailing list",
        mail: r#"Return-Path: <rustaceans-bounces@lists.example>
From: Niklaus Wirth via Rustaceans <rustaceans@lists.example>
To: rustaceans@lists.example
Cc: Ada Lovelace <reply+abc@in.tenantry.example>, undisclosed-recipients:;
Date: Tue, 2 Jun 2026 13:50:00 +0000
Message-ID: <mailman.12.1780407060@lists.example>
Subject: [Rustaceans] Re: A quick question
Precedence: list
List-Id: Friends of Rust <rustaceans.lists.example>
List-Unsubscribe: <mailto:rustaceans-leave@lists.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="===============7=="

This is a multi-part message in MIME format.
--===============7==
Content-Type: text/plain; charset="iso-8859-1"
Content-Transfer-Encoding: quoted-printable

Gr=FC=DFe aus Z=FCrich.

--===============7==
Content-Type: text/plain; charset="us-ascii"
Content-Disposition: inline

_______________________________________________
Rustaceans mailing list

--===============7==--
"#,
        nature: Nature::Automatic,
        from: "Niklaus Wirth via Rustaceans <rustaceans@lists.example>",
        thread: "a quick question",
        snippet: "Grüße aus Zürich.",
        attachments: &[],
        html: false,
    },
    Sample {
        name: "Postfix bounce",
        mail: r#"Return-Path: <>
Date: Tue, 2 Jun 2026 13:00:09 +0000 (UTC)
From: MAILER-DAEMON@mx.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: reply+abc@in.tenantry.example
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="4F1B.1780405209/mx.example"
Message-Id: <20260602130009.4F1B@mx.example>

This is a MIME-encapsulated message.

--4F1B.1780405209/mx.example
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host mx.example.

--4F1B.1780405209/mx.example
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example
Final-Recipient: rfc822; nobody@example.com
Action: failed
Status: 5.1.1

--4F1B.1780405209/mx.example
Content-Description: Undelivered Message
Content-Type: message/rfc822

From: Ada Lovelace <ada@tenantry.example>
Subject: A quick question
Content-Type: multipart/mixed; boundary=inner

--inner
Content-Type: text/plain

Hi

--inner--

--4F1B.1780405209/mx.example--
"#,
        nature: Nature::Bounce,
        from: "Mail Delivery System <MAILER-DAEMON@mx.example>",
        thread: "undelivered mail returned to sender",
        snippet: "This is the mail system at host mx.example.",
        attachments: &["delivery-status.txt message/delivery-status 104", "message.eml message/rfc822 163"],
        html: false,
    },
    Sample {
        name: "mail(1)",
        mail: r#"Return-Path: <root@host.example>
From: root <root@host.example>
To: reply+abc@in.tenantry.example
Subject: hello
Message-Id: <20260602135500.1@host.example>
Date: Tue,  2 Jun 2026 13:55:00 +0000 (UTC)

one line
"#,
        nature: Nature::Person,
        from: "root <root@host.example>",
        thread: "hello",
        snippet: "one line",
        attachments: &[],
        html: false,
    },
    Sample {
        name: "old qmail bounce",
        mail: r#"Return-Path: <>
From: MAILER-DAEMON@qmail.example
To: reply+abc@in.tenantry.example
Subject: failure notice

Hi. This is the qmail-send program at qmail.example.
"#,
        nature: Nature::Bounce,
        from: "MAILER-DAEMON@qmail.example",
        thread: "failure notice",
        snippet: "Hi. This is the qmail-send program at qmail.example.",
        attachments: &[],
        html: false,
    },
    Sample {
        name: "a receipt that a mail was read",
        mail: r#"Return-Path: <j.doe@contoso.example>
From: "Doe, Jane" <j.doe@contoso.example>
To: reply+abc@in.tenantry.example
Subject: Read: A quick question
Auto-Submitted: auto-replied
Content-Type: multipart/report; report-type=disposition-notification; boundary=b

--b
Content-Type: text/plain

Your message was read.
--b
Content-Type: message/disposition-notification

Final-Recipient: rfc822;j.doe@contoso.example
--b--
"#,
        nature: Nature::Automatic,
        from: "Doe, Jane <j.doe@contoso.example>",
        thread: "read: a quick question",
        snippet: "Your message was read.",
        attachments: &["attachment message/disposition-notification 45"],
        html: false,
    },
    Sample {
        name: "an invitation",
        mail: r#"Return-Path: <grace.hopper@gmail.example>
From: Grace Hopper <grace.hopper@gmail.example>
To: reply+abc@in.tenantry.example
Subject: Invitation: Coffee @ Thu Jun 4, 2026 3pm
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain; charset=utf-8

You have been invited.
--b
Content-Type: text/calendar; charset=utf-8; method=REQUEST

BEGIN:VCALENDAR
END:VCALENDAR
--b--
"#,
        nature: Nature::Person,
        from: "Grace Hopper <grace.hopper@gmail.example>",
        thread: "invitation: coffee @ thu jun 4, 2026 3pm",
        snippet: "You have been invited.",
        attachments: &["invite.ics text/calendar 29"],
        html: false,
    },
    Sample {
        name: "tricks in the header",
        mail: "aUtO-sUbMiTtEd:\nAUTO-SUBMITTED :\n\tAuto-Generated (by a machine);\n x=y\nAuto-Submitted: no\nSUBJECT:\nsubject: =?utf-8?q?a=0D=0ABcc:_x?=\n  b\nno field\n and its fold\nFrom: nobody\nfrom: <Two@Example.com>, three@example.com\n\nhi\n",
        nature: Nature::Automatic,
        from: "Two@Example.com",
        thread: "a bcc: x b",
        snippet: "hi",
        attachments: &[],
        html: false,
    },
    Sample {
        name: "empty fields say nothing",
        mail: "Return-Path:\nReturn-Path: <>\nAuto-Submitted: \nAuto-Submitted: No\nX-Autoreply: no\nPrecedence: first-class\nList-Id:\nX-Auto-Response-Suppress: All\nFrom: a@example.com\nSubject: I am out of the office, and you?\n\nhi\n",
        nature: Nature::Automatic,
        from: "a@example.com",
        thread: "i am out of the office, and you?",
        snippet: "hi",
        attachments: &[],
        html: false,
    },
    Sample {
        name: "a person who writes about an office",
        mail: "Return-Path: <a@example.com>\nReturn-Path: <>\nAuto-Submitted: No\nX-Autoreply: no\nPrecedence: first-class\nList-Id:\nFrom: a@example.com\nSubject: Out of office desks\n\n> hi\n",
        nature: Nature::Person,
        from: "a@example.com",
        thread: "out of office desks",
        snippet: "> hi",
        attachments: &[],
        html: false,
    },
    Sample {
        name: "a list's answer to a list",
        mail: "From: Postmaster <postmaster@example.com>\nAuto-Submitted: auto-replied; owner-email=\"x\"\nList-Id: <x>\nSubject: Re: Fwd: [x] AW: WG: y (fwd)\n\n\nBody\n",
        nature: Nature::OutOfOffice,
        from: "Postmaster <postmaster@example.com>",
        thread: "y",
        snippet: "Body",
        attachments: &[],
        html: false,
    },
    Sample {
        name: "a ticket system",
        mail: "From: Help <help@example.com>\nAuto-Submitted: auto-generated\nX-Auto-Response-Suppress: All\nSubject: [Ticket 12] We have your question\n\nWe have it.\n",
        nature: Nature::Automatic,
        from: "Help <help@example.com>",
        thread: "we have your question",
        snippet: "We have it.",
        attachments: &[],
        html: false,
    },
    Sample {
        name: "a Japanese mail",
        mail: "From: =?iso-2022-jp?B?GyRCOzNFRBsoQg==?= <yamada@example.com>\nSubject: =?iso-2022-jp?B?UmU6IBskQjxBTGQbKEI=?=\nContent-Type: text/plain; charset=shift_jis\nContent-Transfer-Encoding: base64\n\ngs2CooFCDQo=\n",
        nature: Nature::Person,
        from: "山田 <yamada@example.com>",
        thread: "質問",
        snippet: "はい。",
        attachments: &[],
        html: false,
    },
];

/// As it comes over the wire.
pub fn wire(mail: &str) -> Vec<u8> {
    mail.replace('\n', "\r\n").into_bytes()
}

fn sample(name: &str) -> Received {
    let sample = SAMPLES.iter().find(|sample| sample.name == name).unwrap();
    read(&wire(sample.mail)).unwrap()
}

#[test]
fn mails_of_all_clients_are_read() {
    for sample in &SAMPLES {
        let name = sample.name;
        for mail in [wire(sample.mail), sample.mail.as_bytes().to_vec()] {
            let read = read(&mail).unwrap();
            assert_eq!(read.nature, sample.nature, "{name}");
            let from = match &read.from.name {
                Some(name) => format!("{name} <{}>", read.from.email),
                None => read.from.email.clone(),
            };
            assert_eq!(from, sample.from, "{name}");
            assert_eq!(read.thread_subject, sample.thread, "{name}");
            assert_eq!(read.snippet, sample.snippet, "{name}: {:?}", read.text);
            assert_eq!(read.html.is_some(), sample.html, "{name}");
            assert!(!read.truncated && read.further_attachments == 0, "{name}");
            let lines = |text: &[u8]| text.windows(2).filter(|two| two == b"\r\n").count();
            for (index, file) in read.attachments.iter().enumerate() {
                let content = attachment(&mail, index).unwrap();
                assert_eq!(content.len(), file.size, "{name}");
                // A picture begins with bytes that look like the end of a line.
                let lines = if file.media_type.starts_with("image/") { 0 } else { lines(&content) };
                let seen = format!("{} {} {}", file.name, file.media_type, file.size - lines);
                assert_eq!(Some(&&*seen), sample.attachments.get(index), "{name}");
            }
            assert_eq!(read.attachments.len(), sample.attachments.len(), "{name}");
            assert_eq!(attachment(&mail, read.attachments.len()), None, "{name}");
        }
    }
}

#[test]
fn a_reply_names_what_it_answers() {
    let first = "c1.step1@mail.tenantry.example";
    for sample in &SAMPLES[..9] {
        let read = read(&wire(sample.mail)).unwrap();
        let ids = [&read.in_reply_to[..], &read.references[..]].concat();
        assert!(ids.iter().any(|id| id == first), "{}: {ids:?}", sample.name);
        assert!(read.message_id.is_some(), "{}", sample.name);
    }
    let read = sample("Outlook.com");
    let other = "DB7PR02MA@DB7PR02.eurprd02.prod.outlook.example";
    assert_eq!((read.in_reply_to, read.references), (vec![other.to_owned()], vec![first.to_owned(), other.to_owned()]));
}

#[test]
fn words_and_html_are_complete_and_harmless() {
    let read = sample("Gmail");
    let html = read.html.unwrap();
    assert!(html.starts_with("<div dir=\"ltr\">Sounds good – how about Thursday at 3?</div><br>"), "{html}");
    assert!(html.contains("<img data-src=\"https://open.tenantry.example/e/o/x\" width=\"1\" height=\"1\">"), "{html}");
    assert!(read.text.contains("> do you have ten minutes this week?"));
    let read = sample("Outlook desktop");
    assert_eq!(read.html.unwrap(), "<div><p>Hello Ada,</p><p>please see the offer – page 2.</p><p></p></div>\n");
    let read = sample("Apple Mail");
    assert_eq!(read.html.unwrap().matches("The plan is attached.").count(), 1);
    assert_eq!(read.text.matches("The plan is attached.").count(), 1);
    let read = sample("iPhone");
    assert_eq!(read.text, "Yes please \\o/\n\n> On Jun 2, 2026, at 15:00, Ada Lovelace <ada@tenantry.example> wrote:\n\n> Hi Alan,");
    assert_eq!(sample("mailing list").text.lines().count(), 4);
    assert_eq!(sample("Thunderbird").text.matches("\n-- \n").count(), 1);
}
