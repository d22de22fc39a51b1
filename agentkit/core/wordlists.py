"""Words that turn-taking knows, by language: sounds of attention, courtesy, hesitation.

Case-folded, without punctuation, phrases of up to four words as a whole. The language is an ISO
639-1 code. Listeners' sounds differ much from language to language (N. Ward, "Backchannel facts",
University of Texas at El Paso, lists the usual ones of many).
"""

from __future__ import annotations

from collections.abc import Mapping


def _phrases(text: str) -> frozenset[str]:
    return frozenset(phrase for line in text.split(",") if (phrase := " ".join(line.split())))


_EVERYWHERE = "mm-hm, mm hm, mmhm, mhm, mm-hmm, mm hmm, mmhmm, mm, hmm, hm, ah, aha, oh, ok, okay"

BACKCHANNELS: Mapping[str, frozenset[str]] = {
    "en": _phrases(
        f"""{_EVERYWHERE}, uh-huh, uh huh, uhuh, uhhuh, mhmm, yeah, yep, yup, yes, right, sure,
        i see, got it, all right, alright, oh okay, oh ok, oh i see, go on, of course, makes sense,
        sounds good, very good, fine, great, wow, really, i know"""
    ),
    "es": _phrases(
        f"""{_EVERYWHERE}, ajá, aja, mjm, ya, sí, si, claro, vale, bueno, bien, muy bien, ya veo,
        ya ya, entiendo, entendido, de acuerdo, perfecto, eso, exacto, ándale, órale, dale, a ver,
        ah ya, ah sí, ah bueno, por supuesto, no me diga"""
    ),
    "fr": _phrases(
        f"""{_EVERYWHERE}, hum, mmh, hein, oui, ouais, ben oui, mais oui, ah oui, ah bon,
        ah d'accord, d'accord, ok d'accord, bien, très bien, bien sûr, je vois, voilà, c'est ça,
        exactement, entendu, compris, tout à fait, parfait, en effet, allez-y"""
    ),
    "de": _phrases(
        f"""{_EVERYWHERE}, hmhm, hm-hm, hm hm, mhmh, ja, jaja, ja ja, jo, joa, ach, ach so, achso,
        aha so, ah ja, ach ja, genau, gut, sehr gut, na gut, klar, alles klar, na klar, stimmt,
        richtig, verstehe, ich verstehe, verstanden, okay gut, in ordnung, eben, natürlich, so"""
    ),
}
"""Sounds of attention: they take no floor while somebody else is talking."""

COURTESY: Mapping[str, frozenset[str]] = {
    "en": _phrases(
        """please, thanks, thank you, thank you very much, thanks a lot, um, uh, er, erm, hmm, well,
        you know, i mean, like, okay, ok, then"""
    ),
    "es": _phrases(
        """por favor, gracias, muchas gracias, si es posible, eh, em, este, pues, bueno, o sea,
        vale, entonces"""
    ),
    "fr": _phrases(
        """s'il vous plaît, s'il te plaît, svp, merci, merci beaucoup, merci bien, euh, hum, ben,
        bah, bon, voilà, quoi, alors"""
    ),
    "de": _phrases(
        """bitte, danke, vielen dank, danke schön, danke sehr, bitte schön, äh, ähm, öhm, hm, also,
        halt, na ja, ja, gut, dann"""
    ),
}
"""Words at the beginning or the end of an utterance that do not change what it asks for."""
