"""Sentences written for these tests, with the names and places in them marked: `[p:Anna Schmidt]`, `[l:Boston]`."""

from __future__ import annotations

import re

MARKED = """
Please write to [p:Anna Schmidt] in [l:Berlin] about the invoice.
Dr. [p:Priya Natarajan] moved from [l:Bangalore] to [l:Boston] last May.
My name is [p:Alex Rivera] and I live at [l:42 Elm Street], [l:Springfield], [l:IL] [l:62704].
Herr [p:Jürgen Müller] wohnt in der [l:Hauptstraße 12], [l:10115] [l:Berlin].
[p:John] said that [p:Mary] would call [p:Wei Zhang] tomorrow.
Contact: [p:Olufemi Adeyemi], [l:Lagos]
Meeting with [p:Siobhán O'Connor] and [p:Jean-Pierre Dubois] in [l:Marseille].
[p:maria gonzalez] lives in [l:madrid] and works from home
Customer [p:Tom Baker] ([l:Leeds]) wants his money back.
[p:Sarah] approved the refund; [p:Sarah]'s manager is [p:Kwame Mensah].
The ticket was opened by [p:Ingrid Svensson] and closed by [p:Luca Rossi].
Hi [p:Fatima], could you send the contract to Mr [p:Henderson] by Friday?
Ship it to [p:Daniel Okafor], [l:17 Rosewood Avenue], [l:Portland], [l:Oregon].
Our tenant [p:Charlotte Dupont] moved out of the flat in [l:Lyon] in March.
Yours sincerely, [p:Margaret Whitfield]
Dear [p:Hiroshi Tanaka], thank you for your order.
The patient, [p:Elena Petrova], was born in [l:Sofia].
Call [p:Bob] back: he is at the hotel in [l:Chicago] until noon.
[p:Mohammed Al-Sayed] and his wife [p:Leila] applied for a visa in [l:Toronto].
From: [p:Rebecca Stone]
Assigned to [p:Nguyen Van Minh], reviewed by [p:Carlos Mendoza].
I spoke with [p:Emily] from accounting this morning.
The driver, [p:Patrick Murphy], lives at [l:8 Harbour Road] in [l:Cork].
Bitte schicken Sie das Paket an [p:Sabine Becker], [l:Lindenweg 4], [l:50667] [l:Köln].
Señora [p:Lucía Fernández] vive en [l:Sevilla] con su hermana.
Madame [p:Claire Moreau] habite [l:12 rue des Lilas] à [l:Nantes].
Employee [p:Grace Kim] was promoted; her desk in [l:Denver] is free now.
The witness [p:Anthony Russo] was seen near [l:Brooklyn].
Invoice for [p:Oliver Jensen], due in ten days.
[p:David Cohen] lost his card in [l:Miami] and needs a new one.
Interview notes: [p:Amara Diallo] grew up in [l:Dakar] and studied law.
The keys are with [p:Stefan] at the office in [l:Hamburg].
Please ask [p:Nadia Haddad] whether she can travel to [l:Dublin].
[p:Peter Novak] called about his mother [p:Jana Novak].
Our new colleague is called [p:Isabella Conti]; she comes from [l:Naples].
Complaint by Mr [p:Thompson]: the parcel never came to [l:Glasgow].
user said: my brother [p:Ahmed] can sign for it
Refund [p:Julia Weber] the full amount and tell her so.
Account holder: [p:Victoria Adams]
The nurse told [p:Samuel Boateng] to come back on Monday.
"""
HELD_OUT = """
The claim of [p:Benjamin Osei] was paid on Tuesday.
Good morning [p:Chiara], the plumber comes to [l:Bologna] tomorrow.
Our lawyer [p:Katarzyna Nowak] has her practice in [l:Krakow].
Deliver the parcel to [p:Henry Caldwell], [l:233 Maple Drive], [l:Austin], [l:Texas].
[p:Zeynep Yilmaz] asked for her salary slip.
Frau [p:Monika Schäfer] ist nach [l:Leipzig] gezogen.
Der Antrag von [p:Thomas Brandt], [l:Gartenstraße 7], [l:01097] [l:Dresden], ist unvollständig.
Monsieur [p:Antoine Girard] a perdu ses clés à [l:Toulouse].
El paciente [p:Javier Ortega] llegó de [l:Valencia] el lunes.
Signed: [p:Edward Langley]
The teacher praised [p:Amina Yusuf] for her essay.
Tell [p:Greg] that [p:Susan] has the figures.
A man called [p:Dimitri Papadopoulos] left a message.
She was born in [l:Prague] and moved to [l:Vancouver] with her son [p:Tomas].
Passenger [p:Ritu Sharma] missed her flight to [l:Mumbai].
please cancel the booking of [p:liam walsh] in [l:galway]
The deceased, [p:Harold Finch], owned a house in [l:Cleveland].
Next appointment: Mrs [p:Eriksen] at nine.
Reported by [p:Chen Li] on the night shift.
[p:Paulo Ribeiro] e [p:Marta Lopes] moram em [l:Porto].
The defendant [p:Victor Lindqvist] denies everything.
Write a friendly reminder to [p:Naomi Fischer], who lives in [l:Zurich].
Landlord: [p:George Pappas], [l:5 Mill Lane], [l:Bristol].
The new trainee, [p:Thandiwe Dlamini], starts in [l:Durban].
"""
"""Not looked at while the threshold was chosen."""
PLAIN = """
You are a helpful agent. Return JSON with the keys title and summary.
The quarterly report shows that revenue grew by 12 percent.
def find(self, name: str) -> Weights: return self.known[name]
Apache Kafka and PostgreSQL are used by the payment service.
Write a short summary of the three documents below.
The tool failed with a timeout; try again in five minutes.
SELECT id, total FROM orders WHERE status = 'open' ORDER BY total
Check each claim against its source, and say which could not be checked.
Python 3.12 made comprehensions faster than before.
Error: the file config/models.yaml has no group called cheap.
The meeting is on Thursday at ten; bring the figures of last year.
Use the calculator for sums, and never guess a number.
Customers complain mostly about slow delivery and damaged boxes.
The contract ends in December unless one side cancels it.
Machine learning models need data, and data needs care.
A crew has a manager, a researcher and a writer.
"""
_MARK = re.compile(r"\[([pl]):([^\]]+)\]")
_KINDS = {"p": "PERSON", "l": "LOCATION"}


def marked(sentences: str) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """Return each sentence without its marks, and what was marked in it: start, end, kind."""
    found = []
    for line in sentences.strip().splitlines():
        text, spans, at = "", [], 0
        for mark in _MARK.finditer(line):
            text += line[at : mark.start()]
            spans.append((len(text), len(text) + len(mark[2]), _KINDS[mark[1]]))
            text += mark[2]
            at = mark.end()
        found.append((text + line[at:], spans))
    return found


def plain() -> list[str]:
    """Return sentences such as stand in prompts, without names or places."""
    return PLAIN.strip().splitlines()
