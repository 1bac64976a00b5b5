"""MySQL's and MariaDB's errors: whose they are, and whether the same statement may pass later, by error number.

Sources: https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html, client-error-reference.html, and
https://mariadb.com/kb/en/mariadb-error-code-reference/ (read 2026-11-22). A number that is not listed is what PyMySQL's own
classes say: a wrong statement is the user's, the rest the platform's.
"""

from __future__ import annotations

from outboard.platforms.sql.databases.meanings import CANCELLED, OPERATOR, PLATFORM, USER, Meaning
from outboard.platforms.sql.databases.port import Complaint, first_line

NUMBERS: dict[int, Meaning] = {
    **dict.fromkeys((1317, 1927), CANCELLED),  # ER_QUERY_INTERRUPTED, ER_CONNECTION_KILLED
    **dict.fromkeys((1969, 3024), USER),  # the statement's time limit (MariaDB, MySQL)
    **dict.fromkeys((1044, 1045, 1049, 1129, 1130, 1142, 1143, 1227, 1370, 1698, 1820, 1862, 3118, 4151), OPERATOR),
    **dict.fromkeys((1040, 1041, 1203, 1226, 1053, 1077, 1079, 1080, 3168, 3169), PLATFORM),  # too many, shutting down
    **dict.fromkeys((1205, 1206, 1213, 1614, 1689, 3572, 3058), PLATFORM),  # locks and deadlocks
    **dict.fromkeys((1021, 1037, 1038, 1114, 1030, 1034, 1180, 1181, 1135, 1297), PLATFORM),  # disk, memory, engines
    **dict.fromkeys((1836, 1290, 1792), USER),  # read-only server, option or transaction
    **dict.fromkeys((1152, 1153, 1158, 1159, 1160, 1161, 1184), PLATFORM),  # network
    **dict.fromkeys((2001, 2002, 2003, 2004, 2005, 2006, 2013, 2014, 2027, 2055), PLATFORM),  # the client's own
    **dict.fromkeys((2026, 2012, 2059, 2061), OPERATOR),  # TLS and authentication
}
_UNREACHABLE = 2003
_BROKEN = frozenset({1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2014, 2027, 2055, 0})


def meaning_of(error: BaseException) -> Complaint | None:
    """Return what an error of PyMySQL means; None for one that is not PyMySQL's."""
    import pymysql  # noqa: PLC0415 - the table above is read without it

    if not isinstance(error, pymysql.MySQLError):
        return None
    number = error.args[0] if error.args and isinstance(error.args[0], int) else -1
    words = first_line(error.args[1] if len(error.args) > 1 else error)
    if number == _UNREACHABLE and "CERTIFICATE_VERIFY_FAILED" in words:
        actor, is_retryable = OPERATOR
    elif number in NUMBERS:
        actor, is_retryable = NUMBERS[number]
    elif isinstance(
        error, (pymysql.ProgrammingError, pymysql.DataError, pymysql.IntegrityError, pymysql.NotSupportedError)
    ):
        actor, is_retryable = USER
    elif isinstance(error, pymysql.InterfaceError) or number in (0, -1):
        actor, is_retryable = PLATFORM
    else:
        actor, is_retryable = USER if 1000 <= number < 2000 or number >= 3000 else PLATFORM
    is_broken = number in _BROKEN or isinstance(error, pymysql.InterfaceError)
    return Complaint(code=str(number), words=words, actor=actor, is_retryable=is_retryable, is_broken=is_broken)
