"""The words a query may consist of: node classes of sqlglot, functions and node types of DuckDB.

Decides: the allow-list, closed (governed-sql 2 and 6). What is not named here is refused; ``grammar_denied`` names the
rest, so that a test fails when a new version of either brings a word nobody has looked at. Leaves to others: in which
place a word may stand (``shape``), what tables and columns mean (``plan``).
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALLOWED_NODES: Final = _words("""
Abs Acos Acosh Add Alias And Anonymous AnyValue ApproxDistinct ApproxQuantile ArgMax ArgMin Ascii Asin Asinh
AtTimeZone Atan Atan2 Atanh Avg Between BitwiseAnd BitwiseAndAgg BitwiseNot BitwiseOr BitwiseOrAgg BitwiseXor
BitwiseXorAgg Boolean CTE Case Cast Cbrt Ceil Chr Coalesce Column Concat ConcatWs Contains Corr Cos Cosh Cot Count
CountIf CovarPop CovarSamp Cube CumeDist CurrentDate DPipe DataType DataTypeParam Date DateAdd DateBin DateDiff
DateFromParts DateSub DateTrunc Day DayOfMonth DayOfWeek DayOfWeekIso DayOfYear Dayname Degrees DenseRank Distinct
Div EQ EndsWith Escape Except Exists Exp Extract Filter First FirstValue Floor From GT GTE Greatest Group
GroupConcat Grouping GroupingId GroupingSets Having Hour ILike Identifier If IgnoreNulls In IntDiv Intersect
Interval Is IsInf IsNan Join Kurtosis LT LTE Lag Last LastDay LastValue Lead Least Left Length Like Limit Literal Ln
Log LogicalAnd LogicalOr Lower Max Median Min Minute Mod Mode Month Monthname Mul NEQ Neg Not NthValue Ntile Null
NullSafeEQ NullSafeNEQ Nullif Offset Or Order Ordered Paren PercentRank PercentileCont PercentileDisc Pi Pow Qualify
Quantile Quarter Radians Rank RegexpExtract RegexpFullMatch RegexpLike RegexpReplace RegrAvgx RegrAvgy RegrCount
RegrIntercept RegrR2 RegrSlope RegrSxx RegrSxy RegrSyy Replace RespectNulls Reverse Right Rollup Round RowNumber
Second Select Sign SimilarTo Sin Sinh Skewness SplitPart Sqrt Star StartsWith Stddev StddevPop StddevSamp
StrPosition Sub Subquery Substring Sum Table TableAlias Tan Tanh TimeToStr TimeToUnix TimestampFromParts
TimestampTrunc ToDays Translate Trim Trunc TryCast Tuple Unicode Union UnixToTime Upper Values Var Variance
VariancePop Week WeekOfYear Where Window WindowSpec With WithinGroup Year
""")
"""Classes of sqlglot a tree may hold. ``Anonymous`` is a function only DuckDB knows: its name must be allowed below."""

RESOURCE_NODES: Final = _words("""
ApproxTopK ArrayAgg ArrayConcatAgg ArrayInsert BitwiseLeftShift BitwiseRightShift Comprehension Explode
ExplodingGenerateSeries Factorial Format GenerateDateArray GenerateSeries GenerateTimestampArray Generator Insert
Iterate JarowinklerSimilarity Lambda Lateral Levenshtein NumberToStr Overlay Pad Pivot Rand Randn Randstr
RecursiveWithSearch RegexpExtractAll RegexpSplit Repeat Space Split StringToArray Stuff TableSample ToChar Unnest
Uuid
""")
"""Refused because their size is an argument, because they multiply rows, or because an answer must be repeatable."""

ALLOWED_FUNCTIONS: Final = _words("""
!= !~~ !~~* % & * ** + - / // < <= = > >= ^ abs acos acosh add any_value approx_count_distinct approx_quantile
arbitrary arg_max arg_max_null arg_min arg_min_null argmax argmin ascii asin asinh atan atan2 atanh avg bit_and
bit_or bit_xor bool_and bool_or cbrt ceil ceiling century char_length character_length chr concat concat_ws contains
corr cos cosh cot count count_if count_star countif covar_pop covar_samp cume_dist date_add date_diff date_part
date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth dayofweek dayofyear days_in_month
decade degrees dense_rank divide ends_with entropy epoch epoch_ms epoch_ns epoch_us era even exp favg fdiv first
first_value floor fmod fsum gcd geomean geometric_mean greatest greatest_common_divisor group_concat hour if
ilike_escape instr isfinite isinf isnan isodow isoyear julian kahan_sum kurtosis kurtosis_pop lag last last_day
last_value lcase lcm lead least least_common_multiple left left_grapheme len length length_grapheme like_escape
listagg ln log log10 log2 lower ltrim mad make_date make_time make_timestamp max max_by mean median microsecond
millennium millisecond min min_by minute mod mode month monthname multiply nanosecond nfc_normalize not_ilike_escape
not_like_escape nth_value ntile nullif ord percent_rank pi position pow power prefix product quantile quantile_cont
quantile_disc quarter radians rank rank_dense regexp_extract regexp_full_match regexp_matches regexp_replace
regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy replace reverse right
right_grapheme round round_even roundbankers row_number rtrim second sem sign signbit sin sinh skewness split_part
sqrt starts_with stddev stddev_pop stddev_samp strftime string_agg strip_accents strlen strpos substr substring
substring_grapheme subtract suffix sum sumkahan tan tanh time_bucket timezone timezone_hour timezone_minute
to_centuries to_days to_decades to_hours to_microseconds to_millennia to_milliseconds to_minutes to_months
to_quarters to_seconds to_timestamp to_weeks to_years translate trim trunc try_strptime ucase unicode upper var_pop
var_samp variance wavg week weekday weekofyear weighted_avg xor year yearweek | || ~ ~~ ~~* ~~~
""")
"""Functions, operators and aggregates of DuckDB that the regenerated text may call."""

RESOURCE_FUNCTIONS: Final = _words("""
<< >> age aggregate apply approx_top_k array_agg array_aggr array_aggregate array_apply array_cat array_concat
array_reduce array_resize array_to_string array_transform array_value array_zip bar bin binom bitstring
bitstring_agg create_sort_key damerau_levenshtein editdist3 equi_width_bins factorial fill flatten format gamma
gen_random_uuid generate_series generate_subscripts hamming histogram histogram_exact jaccard jaro_similarity
jaro_winkler_similarity json_group_array json_group_object json_group_structure levenshtein lgamma list list_aggr
list_aggregate list_apply list_cat list_concat list_filter list_pack list_reduce list_resize list_transform
list_value list_zip lpad lttb map map_from_entries mismatches nextafter overlay path_join pg_sleep printf random
range reduce regexp_extract_all regexp_split_to_array regexp_split_to_table repeat repeat_row reservoir_quantile row
rpad setseed sleep_ms split str_split str_split_regex string_split string_split_regex string_to_array struct_pack
test_all_types test_vector_types to_base to_binary unnest url_encode uuid uuidv4 uuidv7
""")
"""Refused because they build values of a requested size, run past an interrupt, or differ each time."""

PRINTED_FUNCTIONS: Final = _words("row")
"""Functions that stand for a sign of the language: ``row`` for ``(a, b)``. A consumer may not call them by name."""

ALLOWED_TYPES: Final = _words("""
BIGINT BOOLEAN DATE DECIMAL DOUBLE FLOAT HUGEINT INT INT128 INTERVAL SMALLINT TEXT TIME TIMESTAMP TIMESTAMPNTZ
TIMESTAMPTZ TIMESTAMP_MS TIMESTAMP_NS TIMESTAMP_S TINYINT UBIGINT UINT USMALLINT UTINYINT VARCHAR
""")
"""What a consumer may cast to, as sqlglot names it; always with TRY_CAST."""

ALLOWED_UNITS: Final = _words("""
CENTURY DAY DAYOFWEEK DAYOFYEAR DECADE DOW DOY EPOCH HOUR ISODOW ISOYEAR MICROSECOND MILLENNIUM MILLISECOND MINUTE MONTH
QUARTER SECOND WEEK WEEKDAY YEAR YEARWEEK
CENTURIES DAYS DECADES HOURS MICROSECONDS MILLENNIA MILLISECONDS MINUTES MONTHS QUARTERS SECONDS WEEKS YEARS
""")
"""``exp.Var`` is printed raw and read again by the engine, so its words are closed too."""

ENGINE_TYPES: Final = _words("""
BIGINT BOOLEAN DATE DECIMAL DOUBLE FLOAT HUGEINT INT INT128 INTEGER INTERVAL REAL SMALLINT TEXT TIME TIMESTAMP
TIMESTAMPTZ TIMESTAMP_MS TIMESTAMP_NS TIMESTAMP_S TINYINT UBIGINT UINTEGER USMALLINT UTINYINT VARCHAR
""")
"""The same types as the regenerated text spells them."""

ENGINE_NODE_TYPES: Final = _words("""
SELECT_NODE SET_OPERATION_NODE BASE_TABLE SUBQUERY JOIN EMPTY EXPRESSION_LIST
ORDER_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER DISTINCT_MODIFIER ORDER_DEFAULT ASCENDING DESCENDING
""")
"""Query nodes, table references and modifiers in DuckDB's own tree; no ``*_QUERY_NODE``, no TABLE_FUNCTION."""

ENGINE_JOINS: Final = _words("REGULAR CROSS")
"""Kinds of join in DuckDB's own tree; ASOF, POSITIONAL and lateral ones are refused."""

ENGINE_CLASSES: Final = _words("""
BETWEEN CASE CAST COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION OPERATOR SUBQUERY TYPE WINDOW
""")
"""Classes of expressions in DuckDB's own tree."""
