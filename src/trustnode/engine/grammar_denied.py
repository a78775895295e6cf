"""The words a query may not hold, so that every word of the installed versions has been looked at once.

Decides: nothing but the words of a refusal (what is not allowed in ``grammar`` is refused). Leaves to others: the test
that compares these tables with the installed sqlglot and DuckDB and fails on a word that stands in none of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from trustnode.engine.grammar import RESOURCE_FUNCTIONS


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


DENIED_PREFIXES: Final = ("collate_", "icu_collate_", "__internal_")
"""Families of functions that grow with every version: collations of each language, the optimizer's own."""

DENIED_FUNCTIONS: Final = _words("""
!__postfix && ->> <-> <=> <@ @ @> ^@ __between __cast add_grammar_extension add_parquet_key ago alias
arg_max_nulls_last arg_min_nulls_last array_append array_contains array_cosine_distance array_cosine_similarity
array_cross_product array_distance array_distinct array_dot_product array_extract array_filter array_grade_up
array_has array_has_all array_has_any array_indexof array_inner_product array_intersect array_length
array_negative_dot_product array_negative_inner_product array_pop_back array_pop_front array_position array_prepend
array_push_back array_push_front array_reverse array_reverse_sort array_select array_slice array_sort array_to_json
array_to_string_comma_default array_unique array_where arrow_scan arrow_scan_dumb assert_true base64 bit_count
bit_length bit_position bitstring_byte_comparable can_cast_implicitly cardinality cast_to_type checkpoint
col_description collations combine combine_aggr constant_or_null copy_database create_external_resource
current_catalog current_connection_id current_database current_date current_localtime current_localtimestamp
current_query current_query_id current_role current_schema current_schemas current_setting current_transaction_id
current_user currval database_list database_size decimal_average decimal_division decode
deregister_external_resource destroy_external_resource disable_checkpoint_on_shutdown disable_logging
disable_object_cache disable_optimizer disable_print_progress_bar disable_profile disable_profiling
disable_progress_bar disable_verification disable_verify_parallelism duckdb_approx_database_count
duckdb_available_metrics duckdb_columns duckdb_connection_count duckdb_constraints duckdb_coordinate_systems
duckdb_databases duckdb_dependencies duckdb_dialects duckdb_eviction_queues duckdb_extension_repositories
duckdb_extensions duckdb_external_file_cache duckdb_external_resource_types duckdb_external_resources
duckdb_functions duckdb_grammar_extensions duckdb_indexes duckdb_keywords duckdb_live_query_metrics
duckdb_log_contexts duckdb_logs duckdb_logs_parsed duckdb_memory duckdb_optimizers duckdb_prepared_statements
duckdb_profiling_settings duckdb_schemas duckdb_secret_type_parameters duckdb_secret_types duckdb_secrets
duckdb_sequences duckdb_settings duckdb_table_sample duckdb_tables duckdb_temporary_files duckdb_triggers
duckdb_types duckdb_variables duckdb_views element_at enable_checkpoint_on_shutdown enable_logging
enable_object_cache enable_optimizer enable_print_progress_bar enable_profile enable_profiling enable_progress_bar
enable_verification encode enum_code enum_first enum_last enum_range enum_range_boundary error extension_versions
filter finalize force_checkpoint formatReadableDecimalSize formatReadableSize format_bytes format_pg_type
format_type from_base64 from_binary from_hex from_json from_json_strict functions get_bit get_block_size
get_current_time get_current_timestamp get_type getvariable glob grade_up has_any_column_privilege
has_column_privilege has_database_privilege has_foreign_data_wrapper_privilege has_function_privilege
has_language_privilege has_schema_privilege has_sequence_privilege has_server_privilege has_table_privilege
has_tablespace_privilege hash hex histogram_values hive_partition_component icu_calendar_names icu_sort_key
import_database in_search_path index_key inet_client_addr inet_client_port inet_server_addr inet_server_port invoke
is_histogram_other_bin json json_array json_array_length json_contains json_copy_strftime_if_date
json_copy_strftime_if_timestamp json_deep_merge json_deserialize_sql json_each json_execute_serialized_sql
json_exists json_extract json_extract_path json_extract_path_text json_extract_string json_insert json_keys
json_merge_patch json_merge_patch_diff json_normalize json_object json_pretty json_quote json_remove json_replace
json_serialize_plan json_serialize_sql json_set json_strip_nulls json_structure json_transform json_transform_strict
json_tree json_type json_valid json_value list_any_value list_append list_approx_count_distinct list_avg
list_bit_and list_bit_or list_bit_xor list_bool_and list_bool_or list_contains list_cosine_distance
list_cosine_similarity list_count list_distance list_distinct list_dot_product list_element list_entropy
list_extract list_first list_grade_up list_has list_has_all list_has_any list_histogram list_indexof
list_inner_product list_intersect list_kurtosis list_kurtosis_pop list_last list_mad list_max list_median list_min
list_mode list_negative_dot_product list_negative_inner_product list_position list_prepend list_product list_reverse
list_reverse_sort list_select list_sem list_skewness list_slice list_sort list_stddev_pop list_stddev_samp
list_string_agg list_sum list_unique list_var_pop list_var_samp list_where make_timestamp_ms make_timestamp_ns
make_timestamptz make_type map_concat map_contains map_contains_entry map_contains_value map_entries map_extract
map_extract_value map_keys map_to_pg_oid map_type_id_to_pg_oid map_values md5 md5_number md5_number_lower
md5_number_upper metadata_info nextval normalized_interval now obj_description octet_length pandas_scan
parquet_bloom_probe parquet_file_metadata parquet_full_metadata parquet_kv_metadata parquet_metadata
parquet_page_index parquet_scan parquet_schema parse_dirname parse_dirpath parse_duckdb_log_message parse_filename
parse_formatted_bytes parse_path pg_collation_is_visible pg_conf_load_time pg_conversion_is_visible
pg_function_is_visible pg_get_constraintdef pg_get_expr pg_get_viewdef pg_has_role pg_is_other_temp_schema
pg_my_temp_schema pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible pg_postmaster_start_time
pg_size_pretty pg_table_is_visible pg_timezone_names pg_ts_config_is_visible pg_ts_dict_is_visible
pg_ts_parser_is_visible pg_ts_template_is_visible pg_type_is_visible pg_typeof platform pragma_collations
pragma_database_size pragma_metadata_info pragma_platform pragma_show pragma_storage_info pragma_table_info
pragma_user_agent pragma_version python_arrow_scan python_map_function query query_table read_blob read_csv
read_csv_auto read_duckdb read_json read_json_auto read_json_objects read_json_objects_auto read_ndjson
read_ndjson_auto read_ndjson_objects read_parquet read_single_csv_file read_single_json_file
read_single_parquet_file read_text regexp_escape register_external_resource register_external_resource_type
remap_struct remove_grammar_extension replace_type row_to_json seq_scan session_user set_bit setval sha1 sha256
shobj_description show show_databases show_tables show_tables_expanded sniff_csv st_asbinary st_asgeojson st_astext
st_aswkb st_aswkt st_crs st_geomfromgeojson st_geomfromwkb st_intersects_extent st_setcrs stats storage_info
strptime struct_concat struct_contains struct_extract struct_extract_at struct_has struct_indexof struct_insert
struct_keys struct_position struct_update struct_values sum_no_overflow summary switch table_info
timetz_byte_comparable to_aggregate_state to_base64 to_hex to_json today transaction_timestamp truncate_duckdb_logs
txid_current typeof unbin unhex union_extract union_tag union_value unpivot_list url_decode user user_agent
uuid_extract_timestamp uuid_extract_version variant_array_length variant_bytes_to_variant variant_comparator
variant_contains variant_exists variant_extract variant_extract_string variant_group_array variant_group_object
variant_keys variant_normalize variant_to_parquet_variant variant_type variant_typeof vector_type verify_parallelism
version vertex_extract which_secret write_log
""") | {"IS DISTINCT FROM", "IS NOT DISTINCT FROM"}
"""The last two are comparisons to the parser and never appear as a function."""

DENIED_BECAUSE: Final[Mapping[str, str]] = {
    "reads files, memory or another database": (
        r"read_.*|parquet_.*|sniff_csv|glob|.*_scan|arrow_scan_dumb|import_database|copy_database|json_copy_.*"
        r"|parse_(dir|file|path).*|hive_.*|python_.*|.*external_resource.*"
    ),
    "tells about the engine and not about data": (
        r"duckdb_.*|pragma_.*|pg_.*|current_.*|has_.*_privilege|in_search_path|.*description|show.*|functions"
        r"|collations|database_(list|size)|table_info|storage_info|metadata_info|extension_versions|platform|version"
        r"|user|user_agent|session_user|which_secret|inet_.*|get_block_size|verify_parallelism|icu_calendar_names"
        r"|txid_current|truncate_duckdb_logs|parse_duckdb_log_message|format_(pg_)?type|map_to_pg_oid"
        r"|map_type_id_to_pg_oid"
    ),
    "runs a query in a text": r"query|query_table|json_(execute_serialized|serialize|deserialize)_.*|invoke|switch",
    "changes the engine": (
        r"(enable|disable)_.*|force_checkpoint|checkpoint|write_log|nextval|currval|setval|getvariable|add_.*"
        r"|remove_grammar_extension|index_key"
    ),
    "tells about other rows, or about the form of values": (
        r"stats|summary|vector_type|alias|typeof|get_type|make_type|can_cast_implicitly|cast_to_type"
        r"|constant_or_null|replace_type|__.*|histogram_values|is_histogram_other_bin|remap_struct|unpivot_list"
        r"|combine.*|finalize|to_aggregate_state|sum_no_overflow|decimal_.*|cardinality|hash|error|assert_true"
        r"|.*comparable|normalized_interval|variant_.*|enum_.*|icu_sort_key"
    ),
    "makes lists, structures or documents, which are not delivered": (
        r"array_.*|list_.*|map_.*|struct_.*|union_.*|json.*|from_json.*|to_json|row_to_json|element_at|grade_up"
        r"|filter|st_.*|vertex_extract|[<>@!&^-].*|uuid_extract_.*"
    ),
    "makes other bytes, or a hash without the key of the agreement": (
        r"sha.*|md5.*|base64|(to|from)_(base64|hex|binary)|hex|unhex|unbin|encode|decode|url_decode|bit_.*|get_bit"
        r"|set_bit|bitstring.*|octet_length|strptime|regexp_escape|format_bytes|formatReadable.*"
        r"|parse_formatted_bytes|make_timestamp.*|arg_.*_nulls_last"
    ),
    "differs from call to call": r"now|today|get_current_.*|transaction_timestamp|ago",
    "is a comparison and no function": r"IS (NOT )?DISTINCT FROM",
}
"""Why a denied function is denied -> which ones, by the first pattern that fits; a test holds it complete."""


def why(function: str) -> str:
    """Why a function is not allowed; empty for one that the engine does not have."""
    if function in RESOURCE_FUNCTIONS:
        return "makes values of a requested size, or differs from call to call"
    if function not in DENIED_FUNCTIONS:
        return ""
    return next((reason for reason, names in DENIED_BECAUSE.items() if re.fullmatch(names, function)), "")


DENIED_NODES: Final = _words("""
AIAgg AIClassify AIEmbed AIForecast AIGenerate AISimilarity AISummarizeAgg AddConstraint AddMonths AddPartition
Adjacent Agg AggFunc AggregateKeyProperty AlgorithmProperty Aliases All AllowedValuesProperty Alter AlterColumn
AlterDistStyle AlterIndex AlterModifySqlSecurity AlterRename AlterSession AlterSet AlterSortKey Analyze
AnalyzeColumns AnalyzeDelete AnalyzeHistogram AnalyzeListChainedRows AnalyzeSample AnalyzeStatistics AnalyzeValidate
AnalyzeWith AnonymousAggFunc Any ApiProperty ApplicationProperty Apply ApproxPercentileAccumulate
ApproxPercentileCombine ApproxPercentileEstimate ApproxQuantiles ApproxTopKAccumulate ApproxTopKCombine
ApproxTopKEstimate ApproxTopSum ApproximateSimilarity Array ArrayAll ArrayAny ArrayAppend ArrayCompact ArrayConcat
ArrayConstructCompact ArrayContainedBy ArrayContains ArrayContainsAll ArrayDistinct ArrayExcept ArrayFilter
ArrayFirst ArrayIntersect ArrayLast ArrayMax ArrayMin ArrayOverlaps ArrayPosition ArrayPrepend ArrayRemove
ArrayRemoveAt ArrayReverse ArraySize ArraySlice ArraySort ArraySum ArrayToString ArrayUnionAgg ArrayUniqueAgg
ArraysZip AssumeColumnConstraint AtIndex Attach AttachOption AutoIncrementColumnConstraint AutoIncrementProperty
AutoRefreshProperty BackupProperty Base64DecodeBinary Base64DecodeString Base64Encode Binary BinaryColumnConstraint
BitLength BitString BitmapBitPosition BitmapBucketNumber BitmapConstructAgg BitmapCount BitmapOrAgg BitwiseCount
Block BlockCompressionProperty Booland Boolnot Boolor BoolxorAgg Bracket BuildProperty ByteLength ByteString Cache
CalledOnNullInputProperty CaseSpecificColumnConstraint CaseStatement CastToStrType CatalogProperty Changes
CharacterSet CharacterSetColumnConstraint CharacterSetProperty Check CheckColumnConstraint CheckJson CheckXml
ChecksumProperty CityHash64 Clone Cluster ClusterProperty ClusteredByProperty ClusteredColumnConstraint
CodePointsToBytes CodePointsToString Collate CollateColumnConstraint CollateProperty Collation ColumnConstraint
ColumnConstraintKind ColumnDef ColumnPosition ColumnPrefix Columns CombinedAggFunc CombinedParameterizedAgg Command
Comment CommentColumnConstraint Commit Compress CompressColumnConstraint ComputeProperty ComputedColumnConstraint
Condition ConditionalInsert Connect ConnectByRoot ConnectTo Connector Constraint Convert ConvertTimezone
ConvertToCharset Copy CopyGrantsProperty CopyParameter CopyTagsProperty CosineDistance Coth Create Credentials
CredentialsProperty Csc Csch CurrentAccount CurrentAccountName CurrentAvailableRoles CurrentCatalog CurrentClient
CurrentDatabase CurrentDatetime CurrentIpAddress CurrentOrganizationName CurrentOrganizationUser CurrentRegion
CurrentRole CurrentRoleType CurrentSchema CurrentSchemas CurrentSecondaryRoles CurrentSession CurrentStatement
CurrentTime CurrentTimestamp CurrentTimestampLTZ CurrentTimezone CurrentTransaction CurrentUser CurrentUserId
CurrentVersion CurrentWarehouse DDL DML DataBlocksizeProperty DataDeletionProperty DatabaseProperty
DateFormatColumnConstraint DateFromUnixDate DateStrToDate DateToDateStr DateToDi Datetime DatetimeAdd DatetimeDiff
DatetimeSub DatetimeTrunc Declare DeclareItem Decode DecodeCase DecompressBinary DecompressString Decrypt DecryptRaw
DefaultColumnConstraint DefinerProperty Delete DerivedTable Describe Detach DiToDate DictProperty DictRange
DictSubProperty Directory DirectoryStage Disconnect DistKeyProperty DistStyleProperty Distance DistanceNd Distribute
DistributedByProperty Dot DotProduct Drop DropPartition DropPrimaryKey DuplicateKeyProperty DynamicIdentifier
DynamicProperty Elt EmptyProperty Encode EncodeColumnConstraint EncodeProperty Encrypt EncryptRaw EndStatement
EngineProperty EnviromentProperty EphemeralColumnConstraint EqualNull EuclideanDistance ExcludeColumnConstraint
Execute ExecuteAsProperty ExecuteSql ExplodeOuter Export Expression ExtendsLeft ExtendsRight ExternalProperty
FallbackProperty FarmFingerprint FeaturesAtTime Fetch FileFormatProperty Final Flatten Float64 ForClause ForIn
ForceProperty ForeignKey FormatJson FormatPhrase FreespaceProperty FromBase FromBase32 FromBase64 FromISO8601Date
FromISO8601Timestamp FromISO8601TimestampNanos FromJson FromTimeZone Func FunctionSpecification GapFill GenerateBool
GenerateDouble GenerateEmbedding GenerateInt GenerateTable GenerateText GeneratedAsIdentityColumnConstraint
GeneratedAsRowColumnConstraint Get GetExtract GetIgnoreCase Getbit Glob GlobalProperty Grant GrantPrincipal
GrantPrivilege HandlerProperty HashAgg HavingMax HeapProperty Heredoc Hex HexDecodeString HexString Hint
HistoricalData Hll Host HybridProperty IcebergProperty IfBlock IgnoreGrantsProperty InOutColumnConstraint
IncludeProperty Index IndexColumnConstraint IndexConstraintOption IndexParameters IndexTableHint InheritsProperty
Initcap Inline InlineLengthColumnConstraint InputModelProperty InputOutputFormat Install Int64 InteractiveProperty
IntervalOp IntervalSpan Into Introducer InvisibleColumnConstraint IsArray IsAscii IsNullValue
IsolatedLoadingProperty JSON JSONArray JSONArrayAgg JSONArrayAppend JSONArrayContains JSONArrayInsert JSONBContains
JSONBContainsAllTopKeys JSONBContainsAnyTopKeys JSONBContainsTopKey JSONBDeleteAtPath JSONBExists JSONBExtract
JSONBExtractScalar JSONBObjectAgg JSONBPathExists JSONBool JSONCast JSONColumnDef JSONExists JSONExtract
JSONExtractArray JSONExtractQuote JSONExtractScalar JSONFormat JSONKeyValue JSONKeys JSONKeysAtDepth JSONObject
JSONObjectAgg JSONPath JSONPathFilter JSONPathKey JSONPathPart JSONPathRecursive JSONPathRoot JSONPathScript
JSONPathSelector JSONPathSlice JSONPathSubscript JSONPathUnion JSONPathWildcard JSONRemove JSONSchema JSONSet
JSONStripNulls JSONTable JSONType JSONValue JSONValueArray JoinHint JournalProperty JustifyDays JustifyHours
JustifyInterval Kill Kwarg LanguageProperty LaxBool LaxFloat64 LaxInt64 LaxString Leave LikeProperty LimitOptions
List ListStage LoadData Localtime Localtimestamp LocationProperty Lock LockProperty LockingProperty LockingStatement
LogProperty LoopBlock LowerHex MD5 MD5Digest MD5NumberLower64 MD5NumberUpper64 MLForecast MLTranslate MacroOverload
MacroOverloads MakeInterval ManhattanDistance Map MapCat MapContainsKey MapDelete MapFromEntries MapInsert MapKeys
MapPick MapSize MaskingPolicyColumnConstraint MaskingProperty Match MatchAgainst MatchRecognize
MatchRecognizeMeasure MaterializedProperty Merge MergeBlockRatioProperty MergeTreeTTL MergeTreeTTLAction Minhash
MinhashCombine ModelAttribute ModifyColumn ModuleProperty MonthsBetween MultitableInserts Nanvl National Nearest
Negative NestedJSONSelect NetFunc NetworkProperty NextDay NextValueFor NoPrimaryIndexProperty
NonClusteredColumnConstraint Normal Normalize NotForReplicationColumnConstraint NotNullColumnConstraint Nvl2
ObjectAgg ObjectId ObjectIdentifier ObjectInsert ObjectTransform OnCluster OnCommitProperty OnCondition OnConflict
OnProperty OnUpdateColumnConstraint Opclass OpenJSON OpenJSONColumnDef Operator OptionsProperty OutputModelProperty
OverflowTruncateBehavior Overlaps Parameter ParameterStyleProperty ParameterizedAgg ParseBignumeric ParseDatetime
ParseIp ParseJSON ParseNumeric ParseTime ParseUrl Partition PartitionBoundSpec PartitionByExcluding
PartitionByListProperty PartitionByRangeProperty PartitionByRangePropertyDynamic PartitionByTruncate PartitionId
PartitionList PartitionRange PartitionedByBucket PartitionedByProperty PartitionedOfProperty PathColumnConstraint
Per PeriodForSystemTimeConstraint PhysicalProperty PivotAlias PivotAny Placeholder Posexplode PosexplodeOuter
PositionalColumn Pragma PreWhere Predicate Predict PreviousDay PrimaryKey PrimaryKeyColumnConstraint Prior
ProjectionDef ProjectionPolicyColumnConstraint Properties Property PropertyEQ PseudoType Pseudocolumn Put Query
QueryBand QueryOption QueryTransform RangeBucket RangeN RawString ReadCSV ReadParquet Reduce Reference Refresh
RefreshTriggerProperty RegDomain RegexpCount RegexpILike RegexpInstr RegexpSubstr RegrValx RegrValy
RemoteWithConnectionModelProperty RenameColumn RenameIndex RepeatBlock ReplaceColumns ReplacePartition Return
Returning ReturnsProperty Revoke Rint Rollback RollupIndex RollupProperty RowAccessProperty
RowFormatDelimitedProperty RowFormatProperty RowFormatSerdeProperty RtrimmedLength SHA SHA1Digest SHA2 SHA2Digest
SafeAdd SafeConvertBytesToString SafeDivide SafeFunc SafeMultiply SafeNegate SafeSubtract SampleProperty Schema
SchemaCommentProperty ScopeResolution Search SearchIp Sec Sech Secret SecureProperty SecurityIntegrationProperty
Selectable SemanticView Semicolon Seq1 Seq2 Seq4 Seq8 SequenceProperties SerdeProperties SessionParameter
SessionUser Set SetConfigProperty SetItem SetOperation SetProperty SettingsProperty SharingProperty Show Shuffle
SkipJSONColumn Slice Sort SortKeyProperty Soundex SoundexP123 SplitToTable SqlReadWriteProperty SqlSecurityProperty
StDistance StPoint StabilityProperty Stack StandardHash StarMap StorageHandlerProperty StorageProperty
StoredProcedure StrToDate StrToMap StrToTime StrToUnix Stream StreamingTableProperty StrictProperty String
StripNullValue Strtok StrtokSplitToTable StrtokToArray Struct StructExtract SubqueryPredicate SubstringIndex
Summarize SwapTable Systimestamp TableColumn TableFromRows TableSpaceProperty Tag Tags TemporaryProperty Time
TimeAdd TimeDiff TimeFromParts TimeSlice TimeStrToDate TimeStrToTime TimeStrToUnix TimeSub TimeToTimeStr TimeTrunc
TimeUnit TimeseriesKey Timestamp TimestampAdd TimestampDiff TimestampLtzFromParts TimestampSub TimestampTzFromParts
TitleColumnConstraint ToArray ToBase32 ToBase64 ToBinary ToBoolean ToCodePoints ToDecfloat ToDouble ToFile ToMap
ToNumber ToTableProperty ToVariant Transaction Transform TransformModelProperty TransientProperty
TranslateCharacters TriggerEvent TriggerExecute TriggerProperties TriggerReferencing TruncateTable Try
TryBase64DecodeBinary TryBase64DecodeString TryHexDecodeBinary TryHexDecodeString TryToDecfloat TsOrDiToDi TsOrDsAdd
TsOrDsDiff TsOrDsToDate TsOrDsToDateStr TsOrDsToDatetime TsOrDsToTime TsOrDsToTimestamp Typeof UDTF Unary Uncache
Undrop Unhex UnicodeString Uniform UniqueColumnConstraint UniqueKeyProperty UnixDate UnixMicros UnixMillis
UnixSeconds UnixToStr UnixToTimeStr UnloggedProperty UnpivotColumns Update UppercaseColumnConstraint Use
UserDefinedFunction UsingData UsingProperty UsingTemplateProperty UtcDate UtcTime UtcTimestamp UuidProperty VarMap
Variadic VectorSearch Version ViewAttributeProperty VirtualProperty VolatileProperty WatermarkColumnConstraint
WeekStart WeightString When Whens WhileBlock WidthBucket WithDataProperty WithFill WithJournalTableProperty
WithOperator WithProcedureOptions WithSchemaBindingProperty WithSystemVersioningProperty WithTableHint XMLElement
XMLGet XMLKeyValueOption XMLNamespace XMLTable Xor YearOfWeek YearOfWeekIso ZeroFillColumnConstraint Zipf
_ExplodeOuter _TimeUnit
""")
