"""English words by which a sport is known: its moves, rules, people and places, and its news."""

from __future__ import annotations

_SOCCER = """
striker strikers forward forwards winger wingers midfield midfielder midfielders defender defenders fullback
goalkeeper goalkeepers keeper goalie sweeper captain substitute substitutes header headers headed heading kick
kicks kicked kicking penalty penalties free corner corners cross crosses crossed goal goals goalless scorer
scorers scored scoring equaliser equalizer equalised brace hat shot shots volley tackle tackles tackled
dribble dribbling offside assist assists loan loaned transfer transfers signing debut caps capped appearances
club clubs league leagues cup fixture fixtures relegation relegated promotion promoted pitch friendly
friendlies booked referee footballer footballers soccer football fifa uefa premier bundesliga serie united
rovers wanderers albion athletic city manager squad
"""
_FOOTBALL = """
yard yards yardage pass passes passed passer passing rush rushes rushed rushing rusher run runs running
runner receiver receivers receiving reception receptions quarterback quarterbacks linebacker linebackers
lineman linemen cornerback cornerbacks safety safeties halfback fullback tailback tight end ends snap snaps
fumble fumbles fumbled interception interceptions intercepted sack sacks sacked touchdown touchdowns down
downs kickoff punt punts punted punter kicker field goal goals conversion conversions offense offensive
defense defensive scrimmage blitz huddle draft drafted undrafted bowl super nfl nfc afc ncaa football gridiron
playoff playoffs pro combine roster waived backfield pocket turnover turnovers blocked blocking tackle
tackles tackled
"""
_HOCKEY = """
hockey puck pucks ice rink rinks skate skates skater skaters skating stick sticks goal goals goalie goalies
goaltender goaltenders goaltending net netminder wing winger wingers center centre centers forward forwards
defenseman defensemen defenceman defencemen blueliner shutout shutouts assist assists points power penalty
penalties overtime shootout slap slapshot wrister rebound faceoff faceoffs check checking boards crease line
shift nhl ahl whl ohl junior major stanley cup draft drafted playoff playoffs periods quebec canadian
canadians canada winnipeg montreal toronto ottawa edmonton calgary vancouver manitoba ontario alberta
saskatoon regina hamilton maple leafs canadiens oilers flames senators jets bruins rangers penguins sabres
"""

SPORT_WORDS = {
    "soccer": frozenset(_SOCCER.split()),
    "american football": frozenset(_FOOTBALL.split()),
    "ice hockey": frozenset(_HOCKEY.split()),
}
"""Lower-cased words of each sport; of ice hockey also the places that have its teams, which its neuron is
said to respond to."""


def is_sport_word(text: str, sport: str) -> bool:
    """Whether a token, white space and case apart, is a word of a sport.

    Args:
        text: Text of the token.
        sport: A key of `SPORT_WORDS`.
    """
    return text.strip().lower() in SPORT_WORDS[sport]
