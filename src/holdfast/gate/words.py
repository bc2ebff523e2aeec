"""Tables of words, as data: common ones, names of arguments, and verbs of asking by language."""

from __future__ import annotations

from typing import Final

STOP: Final = frozenset(
    """
    a an and are as at be by can com de do for from has have he her his http https i if in is it its
    me my net no not of on or org our out please she so that the their them then there they this to
    up us was we were what which who will with www you your der die das und ist im den dem ein eine
    mit von zu fur auf bitte ich sie wir le la les des du un une et est pour dans sur avec que il el
    los las y en es por para con una lo gli e di da che per o os as um uma em se com au aux re fw
    """.split()
)
"""Words that say nothing by themselves (English, German, French, Spanish, Italian, Portuguese)."""

_NUMERALS: Final = (
    "zero null nul cero",
    "one eins eine einen einer un une uno una um uma een single",
    "two zwei deux dos due dois duas twee twice both pair",
    "three drei trois tres tre drie",
    "four vier quatre cuatro quattro quatro",
    "five funf cinq cinco cinque vijf",
    "six sechs seis sei zes",
    "seven sieben sept siete sette sete zeven",
    "eight acht huit ocho otto oito",
    "nine neun neuf nueve nove negen",
    "ten zehn dix diez dieci dez tien",
    "eleven elf onze once undici",
    "twelve zwolf douze doce dodici doze twaalf dozen",
)
_ORDINALS: Final = (
    "", "first erste ersten premier premiere primero primera primo prima primeiro eerste",
    "second zweite zweiten deuxieme segundo segunda secondo tweede",
    "third dritte dritten troisieme tercero tercera terzo terceiro derde",
    "fourth vierte vierten quatrieme cuarto quarto vierde",
    "fifth funfte funften cinquieme quinto vijfde", "sixth sechste sechsten sixieme sexto sesto",
    "seventh siebte siebten septieme", "eighth achte achten huitieme", "ninth neunte neunten",
    "tenth zehnte zehnten dixieme",
)  # fmt: skip
NUMERALS: Final[dict[str, str]] = {
    word: str(number)
    for row in (_NUMERALS, _ORDINALS)
    for number, words in enumerate(row)
    for word in words.split()
}
"""Small numbers in words."""

LABELS: Final = frozenset(
    "name title topic label value tag theme headline heading titel titulo titre titolo".split()
)
"""Arguments of these names say what something new is called."""

CONTENT: Final = frozenset(
    """
    body text content contents message msg subject description note notes comment comments summary
    title caption html markdown document prompt question query q search keywords details reason
    reply answer signature attachment attachments payload words purpose announcement remark
    betreff inhalt nachricht text zweck vermerk bemerkung notiz beschreibung titel kommentar
    objet contenu corps texte remarque commentaire titre motif
    asunto contenido cuerpo texto mensaje nota titulo concepto comentario descripcion
    oggetto contenuto corpo testo messaggio titolo causale assunto conteudo mensagem
    """.split()
)
"""Arguments of these names carry something out, whatever they hold."""

COMMAND: Final = frozenset("command cmd code script sql shell expression stdin argv".split())
"""Arguments of these names carry and decide."""

HOW: Final = frozenset(
    """
    limit page offset size sort order format lang language locale timezone tz encoding unit units
    verbose fields columns depth timeout currency style width height top
    """.split()
)
"""Arguments of these names say how, not what: neither deciding nor content, unless an address."""

AMOUNT: Final = ("amount", "price", "total", "sum", "cost", "fee", "budget", "quantity", "qty")
"""Arguments of these names say how much money, or of what."""
TARGET: Final = (
    "recipient", "recipients", "to", "target", "payee", "beneficiary", "iban", "account",
    "destination", "address", "email", "emails", "user", "username", "channel", "participants",
    "attendees", "url", "uri", "link", "host", "path", "file", "filename", "folder", "directory",
    "resource", "id", "name",
)  # fmt: skip
WIDENING: Final = frozenset(
    """
    public visibility permission permissions role access scope force recursive overwrite admin
    anyone everyone external share shared owner privilege sudo allow all
    """.split()
)
"""Switches of these names widen what happens when they are on."""
GUARDING: Final = frozenset("dry confirm confirmed verify check safe private preview".split())
"""Switches of these names widen what happens when they are off."""

# Families of verbs: beginnings of words; a word belongs to those that it begins with.
FAMILIES: Final[dict[str, str]] = {
    "send": """
        send sent sends sending mail email e-mail message messag reply repl respond forward
        notify inform tell write invite contact dm schick sende antwort weiterleit
        benachricht informier schreib mitteil nachricht envoy envoie repond reponse transfer
        transmet prevenir ecri envi mand reenvi avis escrib inviar invia rispond inoltr
        avvis scriv encaminh avise escrev say ask rsvp whisper comment post page answer
        speak talk ping warn thank wish welcom report stuur sturen verzend skicka wysli
        leit sag brief dire dis di decir dile""",
    "pay": """
        pay paid transfer wire refund reimburse remit settle donat money payment transaction
        fund buy settl disburs compensat betaal betala zaplac zahl bezahl uberweis
        erstatt begleich spend pague pag transf reembols
        abon pagar paie payer paye vire virement rembours verser paga bonific rimbors versa
        iban""",
    "delete": """
        delete remov erase drop cancel purge trash wipe unsubscribe losch entfern stornier
        absag supprim efface annul enlev borr elimin quit rimuov elimina cancell apag
        exclu verwijder annul
        expel discard scrap terminat radera usun""",
    "share": """
        share invit grant permit give access add collaborat teil einlad freigeb gewahr
        hinzufug partag inviter donn accord compart conced condivid concedi convid
        compartilh""",
    "publish": """
        publish post say comment announce tweet broadcast
        veroffentlich poste publi publica pubblic""",
    "release": """
        release releas upload push deploy hochlad televers subir carica""",
    "hire": "commission hire engage beauftrag incaric encarg",
    "meet": "schedul interview appointment meeting",
    "book": """
        book reserv buy sell sign regist purchas order checkout rent buch reservier kauf
        bestell achet command compr pedir alquil prenot acquist ordin encomend alug
        reserveer bestel""",
    "create": """
        create creat add put enter give trag lege log sign make schedul plan new setup
        register open draft save append insert erstell anleg hinzufug termin planen eintrag
        neu cree ajout planifi crea agreg anad program aggiung pianific cria adicion agend
        write schreib ecri escrib scriv escrev generat""",
    "change": """
        change updat edit modif set put enter make mark mute turn switch adjust give renam
        mov replac fix correct reschedul convert ander aktualisier bearbeit setz verschieb
        umbenenn ersetz korrigier modifi chang met-a deplac renomm corrig cambi actualiz
        muev modific aggiorn spost sostitu mud alter atualiz
        rettific corregg lower rais reduc increas adjust wijzig verander""",
    "lock": """
        block lock unlock freez unfreez disabl enabl allow permit bann restrict sperr
        entsperr bloqu desbloqu verrouill deverrouill blocc sblocc activ deactiv""",
    "finish": """
        close clos mark resolv solv complet archiv finish merg schliess abschliess beend
        cierr ferm resou chiud conclu fech""",
    "access": """
        password passwor passwd passwort kennwort contrasena credential secret token apikey
        role permission berechtig admin owner collaborat member mitglied webhook forwarding
        editor viewer weiterleitung rule regel filter firewall whitelist allowlist relay
        config setting limit""",
    "web": """
        web site seite url link http www online internet brows visit article artikel download
        pagina search such research recherch lookup look find fetch open""",
    "link": """
        link url http www website webpage homepage site seite article artikel enlace lien sitio
        pagina""",
    "prescribe": "prescri rezept verschreib recet ordonn",
    "run": """
        run instal execut start launch build test compil restart stop call invoke ausfuhr
        starte installier lance demarr ejecut inici esegu avvi rod""",
    "read": """
        read search list summar get find show fetch look check open browse view download
        query retriev lookup count analy compar review what who when where which how les
        suche zeig zusammenfass hol pruf lis lire cherch montr resum trouv lee busc muestr
        leg cerc mostr riassum trov ler busqu verific""",
}

NOT: Final = frozenset(
    """
    not don't dont never without no nicht kein keine keinen niemals ohne pas jamais sans nunca sin
    non mai senza nao nunca sem
    """.split()
)
NOT_AFTER: Final = frozenset("nicht nichts kein keine keinen nothing rien nada niente".split())
AFTER: Final = frozenset("nicht nichts pas rien nada nothing".split())
"""After a verb these deny it."""
BUT: Final = (
    "forget", "hesitat", "fail", "only", "vergiss", "vergess", "oubli", "olvid", "dimentic",
    "esque",
)  # fmt: skip
"""After one of these a negation asks all the same: do not forget to send."""

NOUNS: Final = frozenset(
    """
    mail mails email emails message messages contact contacts order orders book books post posts
    call calls plan plans program draft drafts fund funds payment payments transaction
    transactions money report list view transfer transfers share shares access comment comments
    page pages brief price number new open address name public answer reply replies note notes
    set sets build test tests purchase refund refunds collaborator collaborators release
    releases update updates ask asked sign booking bookings reservation reservations invitation
    invitations change changes request requests iban wire edit edits schedule entry entries
    publi record interview meeting meetings appointment appointments commission
    """.split()
)
"""Words of the families that are as often nouns: they count where they stand as verbs."""
LEADS: Final = frozenset(
    """
    to and then please also or you , just now kindly bitte und dann y por favor et puis e poi
    """.split()
)
"""Words before which a verb stands."""
JOINS: Final = frozenset("and then also , und dann et puis y e poi en depois ensuite".split())
"""Words after which a request goes on with another verb, or a list with another thing."""
LIGHT: Final = frozenset(
    """
    get take make do put set give bring have let move sort arrange handle hol hole nimm mach mache
    tu setz setze gib bring bringe lass prends fais mets donne haz pon da dale toma prendi fai
    metti dai faz poe pega doe geef neem zet
    """.split()
)
"""Verbs that say only with the rest of the sentence what is meant."""
POLITE: Final = frozenset(
    "please then also now just kindly and bitte dann jetzt por favor prego ora alsjeblieft".split()
)
"""Words before the first verb of a sentence."""
BEING: Final = frozenset(
    """
    is are was were am be been has have had will would can could should must needs need wants want
    ist sind war waren hat haben wird muss soll est sont etait ont doit es son esta estan tiene
    e sono ha hanno deve foi tem zijn heeft wordt
    """.split()
)
"""Verbs that say how things are."""
KNOWN: Final = frozenset(
    """
    if when since while because after before until once my our your their every all each some
    somebody someone nobody everybody both one two three four five here today tomorrow yesterday
    let may don't never only except but about i'd i'll i'm there wenn falls mein unser alle jeder
    si mon notre tous quand mi nuestro todos cuando se mio nostro tutti quando meu nosso als mijn
    """.split()
)
"""Words that begin a sentence or a part of it, and are no verb."""
PLACES: Final = frozenset(("inbox", "mailbox"))
"""Where things lie: who speaks of the letters means those in the inbox."""
MAKES: Final = frozenset(("send", "create"))
"""Families of verbs that say only with their object what they do."""
STRONG: Final = frozenset(("share", "lock", "delete", "send", "run"))
"""Families that say what they do also of what is of the family access."""
ALIKE: Final[dict[str, tuple[str, ...]]] = {
    "publish": ("send", "release"), "release": ("publish",), "hire": ("send", "book"),
}  # fmt: skip
"""Families that one asks for in the words of others too."""
