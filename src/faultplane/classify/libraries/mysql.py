"""MySQL and MariaDB by error number, for PyMySQL, mysqlclient, Connector/Python and asyncmy.

The numbers are those of MySQL's error reference (from 1000 the server's, 2000 to 2999 the client
library's) and of MariaDB's (1900 to 1999, 4000 on); the drivers have them as the first argument.

Decisions that could have gone another way:

* 1205 (a lock was waited for too long) is Concurrency as a deadlock is, not Timeout: to make the
  transaction again helps, to wait longer seldom does.
* 2006 and 2013 leave open whether the statement was run.
* 1290 and 1836 (a server that only reads) are Configuration and temporary: after a failover the
  connection still leads to what was the primary.
* 1317 is a statement that somebody killed: like a cancellation, it is not made again.
"""

from __future__ import annotations

from typing import Final

from faultplane.classify import vocabulary as v
from faultplane.classify.judgement import keyed
from faultplane.classify.libraries import rows as r
from faultplane.classify.table import answers_by_word

__all__ = ["GROUPS", "NUMBERS", "by_mysql_number"]

NUMBERS: Final = answers_by_word(
    "mysql",
    {
        "1040 1042 1135 1203": r.NO_PLACE,
        "1206 1461 1637 1037 1038 1041": r.CROWDED,
        "1226": r.THROTTLED,
        "1021 1114": r.FULL,
        "1020 1205 1213 1614 1689 3058 3101 3572": r.CONFLICT,
        "1317": r.INTERRUPTED,
        "1969 3024": r.SLOW_SERVER,
        "1047 1053 1077 1079": r.UNAVAILABLE,
        "1152 1158 1159 1160 1161 1184 1927 2000 2006 2013 2055": r.LOST,
        "1043 2001 2002 2003 2004 2009 2012": r.UNREACHED,
        "2026": ("Transport", {**v.UNSENT, **v.FINAL, **v.GUESS, **v.VALIDATE}),
        "2005": ("Configuration", {"category": "Network", "confidence": 0.9}),
        "4031": r.IDLED_OUT,
        "1044 1045 1129 1130 1251 1524 1698 2061": r.LOCKED_OUT,
        "1142 1143 1227 1370 1410 1820 1862 3118 3948": r.DENIED,
        "1049": r.SETTING,
        "1115 1148": r.REFUSED_SETTING,
        "1290 1836": r.READ_ONLY,
        "1048 1062 1153 1169 1216 1217 1230 1242 1261 1262 1263 1264 1265 1292 1364 1365 1366 1367 "
        "1390 1406 1411 1416 1425 1426 1441 1451 1452 1526 1557 1586 1690 1761 1762 3140 3141 "
        "3819 3903 4025": r.INVALID,
        "1007 1008 1046 1050 1051 1052 1054 1055 1056 1058 1059 1060 1061 1063 1064 1065 1066 "
        "1068 1071 1072 1074 1075 1091 1093 1096 1102 1103 1109 1110 1111 1112 1113 1136 1140 "
        "1146 1149 1166 1171 1179 1193 1215 1222 1231 1232 1241 1243 1247 1248 1305 1318 1327 "
        "1415 1418 1422 1568 1792": r.MISTAKE,
        "1196 1235 1286 1289 1295": r.UNSUPPORTED,
        "2007 2047 2049 2054 2059": ("VersionMismatch", {**v.UNSENT}),
        "2008": ("ResourceExhausted", {**v.UNSENT}),
        "2014 2030 2031 2033 2034 2036 2048 2051 2053 2056 2058": r.MISUSE,
        "2020": r.UNFIT,
        "2027": ("Serialization", {"origin": "path"}),
        "1023 1024 1026 1030 1105 1815": r.BROKEN,
        "1034 1035 1194 1195 1712": r.DAMAGED,
    },
)  # fmt: skip
"""Answers by error number."""


_WORDS: Final = {int(word): word for word in NUMBERS}


def _number_key(exc: BaseException) -> object:
    number = exc.args[0] if exc.args else None
    return _WORDS.get(number, "") if type(number) is int else ""


by_mysql_number: Final = keyed(_number_key, NUMBERS.get)
"""An error by its number, else by what its class says."""

_DATABASE: Final[dict[str, r.Written]] = {
    "MySQLError": (*r.BROKEN, by_mysql_number),
    "Error DatabaseError OperationalError InternalError": (*r.UNTOLD, by_mysql_number),
    "IntegrityError DataError": (*r.INVALID, by_mysql_number),
    "ProgrammingError InterfaceError": (*r.MISUSE, by_mysql_number),
    "NotSupportedError": (*r.UNSUPPORTED, by_mysql_number),
    "Warning": r.WARNED,
}

GROUPS: Final[tuple[r.Group, ...]] = (
    ("pymysql.err", _DATABASE),
    ("MySQLdb._exceptions", _DATABASE),
    ("asyncmy.errors", _DATABASE),
    (
        "mysql.connector.errors",
        {
            **_DATABASE,
            "ConnectionTimeoutError": r.UNREACHED_IN_TIME,
            "ReadTimeoutError WriteTimeoutError": r.SLOW,
            "PoolError": r.POOL_EMPTY,
        },
    ),
)
