"""A clinic's receptionist. Copy this file and make it yours.

    agentkit run examples/receptionist.py --audio caller.wav --out call
    agentkit demo examples/receptionist.py

With DEEPGRAM_API_KEY and OPENAI_API_KEY set it runs on Deepgram and OpenAI, unchanged.
"""

from __future__ import annotations

from datetime import datetime

from agentkit import Agent, Turn, tool

HOURS = {
    "monday": "from eight in the morning to six in the evening",
    "tuesday": "from eight in the morning to six in the evening",
    "wednesday": "from eight in the morning to one in the afternoon",
    "thursday": "from eight in the morning to six in the evening",
    "friday": "from eight in the morning to four in the afternoon",
}


class Receptionist(Agent):
    instructions = """
        You answer the phone at Rosewood Clinic. You are heard, not read: one or two short
        sentences, no lists, no markup. Look opening hours up with the tool. Book an appointment
        once you know a name and a day. If you do not know something, offer to take a message.
    """
    greeting = "Rosewood Clinic, good morning. How can I help you?"
    apology = "I'm sorry, I lost you for a moment there. Could you say that again, please?"

    def __init__(self) -> None:
        self.booked: dict[str, str] = {}

    # It only reads, so it may run while the caller is still finishing the sentence.
    @tool(read_only=True)
    async def opening_hours(self, day: str) -> str:
        """When the clinic is open.

        Args:
            day: a weekday, or "today" or "tomorrow".
        """
        days = [*HOURS, "saturday", "sunday"]
        today = datetime.now().astimezone().weekday()
        asked = {"today": days[today], "tomorrow": days[(today + 1) % 7]}.get(day.lower(), day)
        hours = HOURS.get(asked.lower())
        return f"open {hours} on {asked.title()}" if hours else f"closed on {asked.title()}"

    # It changes something, so it runs once, and only when the turn can't be taken back any more.
    @tool
    async def book(self, name: str, when: str) -> str:
        """Book an appointment.

        Args:
            name: the patient's name.
            when: the day, and the time if one was named.
        """
        self.booked[name] = when
        return f"booked for {name}, {when}"

    # Voices read some things badly: say them in words.
    def spoken(self, text: str) -> str:
        return text.replace("Dr.", "Doctor").replace("&", " and ")

    async def on_turn(self, turn: Turn) -> None:
        if "goodbye" in turn.text.lower().replace("-", ""):
            self.session.hang_up()
