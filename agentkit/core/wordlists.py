"""Words that turn-taking knows, by language: sounds of attention, claims to the floor, courtesy.

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

CLAIMS: Mapping[str, frozenset[str]] = {
    "en": _phrases(
        """wait, stop, hold on, hang on, hold it, one moment, just a moment, one second, a second,
        one sec, just a sec, just a minute, hey, hello, hi, listen, look, excuse me, pardon,
        pardon me, sorry, i'm sorry, no, nope, don't, actually, but, however, can i, could i,
        may i, can you, could you, let me, i have a question, question, quick question, repeat,
        say again, come again, slow down, too fast, never mind, forget it, enough, be quiet, quiet,
        shut up, cancel, what, why, who, where, when, help, operator, goodbye, bye, what's, who's,
        where's, how much, how many, how long, how do, how can, how about, is it, is that, is there,
        isn't, are you, are there, aren't, do i, do you, does, doesn't, did you, didn't, have you,
        will you, would you, should i, shall we, i need, i want, i have, i've, i had, i don't,
        i can't, i didn't, i won't, i would, i'd like, i'd rather, i'm calling, that's not,
        that's wrong"""
    ),
    "es": _phrases(
        """espera, espere, espérate, espérese, para, pare, alto, un momento, un momentito,
        un segundo, un minuto, oye, oiga, hola, escucha, escuche, mira, mire, perdón, perdone,
        perdona, disculpe, disculpa, con permiso, no, nada de eso, en realidad, pero, sin embargo,
        puedo, puede, podría, déjame, déjeme, una pregunta, repita, repite, otra vez, más despacio,
        olvídalo, olvídelo, basta, silencio, cállate, cállese, cancela, cancele, por qué,
        quién, dónde, cuándo, cuánto, cuántos, ayuda, adiós, es que, hay, tiene, tienen, tienes,
        necesito, quiero, quisiera, querría, me gustaría, tengo, llamo"""
    ),
    "fr": _phrases(
        """attends, attendez, arrête, arrêtez, stop, un moment, un instant, une seconde,
        une minute, deux secondes, deux minutes, hé, allô, bonjour, écoute, écoutez, regardez,
        excusez-moi, excuse-moi, pardon, désolé, désolée, non, en fait, en réalité, mais,
        cependant, je peux, puis-je, est-ce que, vous pouvez, pouvez-vous, laissez-moi, laisse-moi,
        une question, j'ai une question, répétez, répète, plus lentement, moins vite,
        laissez tomber, laisse tomber, ça suffit, silence, taisez-vous, tais-toi, annulez, annule,
        quoi, pourquoi, qui, où, quand, combien, au secours, au revoir, est-il, avez-vous,
        y a-t-il, il y a, j'ai besoin, je voudrais, je veux, j'aimerais, je ne, je n'ai,
        j'appelle"""
    ),
    "de": _phrases(
        """warte, warten sie, wart mal, stopp, stop, halt, halt mal, moment, moment mal,
        einen moment, kleinen moment, einen augenblick, augenblick, sekunde, eine sekunde,
        eine minute, hey, he, hallo, hör mal, hören sie, schau mal, schauen sie, entschuldigung,
        entschuldigen sie, entschuldige, verzeihung, pardon, sorry, tut mir leid, nein, nee, nö,
        eigentlich, aber, jedoch, kann ich, könnte ich, darf ich, dürfte ich, können sie,
        könnten sie, kannst du, lassen sie mich, lass mich, eine frage, frage, nochmal, noch mal,
        noch einmal, wie bitte, langsamer, zu schnell, vergessen sie es, vergiss es, genug, ruhe,
        abbrechen, was, warum, wieso, wer, wo, wann, wie viel, wie lange, hilfe, tschüss,
        auf wiederhören, ist es, ist das, gibt es, haben sie, sind sie, hast du, ich brauche,
        ich möchte, ich will, ich habe, ich hätte, ich kann, ich würde, ich rufe an"""
    ),
}
"""Words that ask for the floor, wherever in an utterance they stand: they interrupt at once. Stops,
calls, apologies, objections, and what questions and wishes begin with."""

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
