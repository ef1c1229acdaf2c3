"""The same pipeline in Apache Spark Structured Streaming: Kafka (Confluent-framed Avro) -> deltas per repository ->
Iceberg raw, Iceberg processed and ClickHouse, the last by ClickHouse's own Java client. (Its connector for Spark is not in
Maven Central for this version; its JDBC driver 0.9.4 takes minutes for what this does in seconds, and with its RowBinary
writer sends rows that ClickHouse cannot read.)

State by flatMapGroupsWithState in Java (java/baseline), the fastest of the forms that were tried: no row passes through
Python. Generous to Spark: state stays in the JVM and is lost with it, nothing is produced back to Kafka, no record is
looked up so as not to be stored twice, the metrics besides the deltas are not computed, ClickHouse gets the time series
but not the state of each repository, and the start of the JVM is not counted.

Environment (defaults in brackets):
  BOOT   bootstrap servers [127.0.0.1:9092]   TOPIC [github.base_repos]   SCHEMA  the records' Avro schema
  JARS   folder made by setup.sh              WORK  folder for checkpoint and output, emptied at the start
  COUNTERS  columns that get deltas, separated by commas
  CLICKHOUSE  host:port of ClickHouse; empty: rows are dropped, no store is written   SERIES  columns of its table, as COUNTERS
  BATCH  maxOffsetsPerTrigger [500000]        CORES [2]   HEAP [6g]   PARTS shuffle partitions [4]   INSERT rows of one insert [50000]
  T0     epoch seconds at which the process was launched
Prints one JSON line.
"""
import glob, json, os, resource, shutil, time

E = os.environ.get
T0 = float(E("T0", time.time()))
BOOT, TOPIC = E("BOOT", "127.0.0.1:9092"), E("TOPIC", "github.base_repos")
JARS, WORK, CLICKHOUSE = os.environ["JARS"], os.environ["WORK"], E("CLICKHOUSE", "")
SCHEMA = open(os.environ["SCHEMA"]).read()

shutil.rmtree(WORK, ignore_errors=True)
os.makedirs(WORK)

from pyspark.sql import DataFrame, SparkSession, functions as F
from pyspark.sql.avro.functions import from_avro

want = ("spark-sql-kafka", "spark-avro", "spark-token-provider", "kafka-clients", "commons-pool2", "baseline", "iceberg-spark-runtime", "clickhouse-jdbc")
jars = [j for j in glob.glob(os.path.join(JARS, "*.jar")) if os.path.basename(j).startswith(want)]
spark = (SparkSession.builder.master(f"local[{E('CORES', '2')}]").appName("spark-baseline").config("spark.jars", ",".join(jars))
         .config("spark.driver.extraClassPath", ":".join(jars))
         .config("spark.driver.memory", E("HEAP", "6g")).config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
         .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
         .config("spark.local.dir", os.path.join(WORK, "tmp"))
         .config("spark.sql.session.timeZone", "UTC").config("spark.driver.extraJavaOptions", "-Duser.timezone=UTC -XX:+UseParallelGC")
         .config("spark.sql.shuffle.partitions", E("PARTS", "4")).config("spark.sql.adaptive.coalescePartitions.enabled", "false")
         .config("spark.serializer", "org.apache.spark.serializer.KryoSerializer")
         .config("spark.sql.parquet.compression.codec", "zstd")
         .config("spark.sql.catalog.lake", "org.apache.iceberg.spark.SparkCatalog")
         .config("spark.sql.catalog.lake.type", "hadoop")
         .config("spark.sql.catalog.lake.warehouse", os.path.join(WORK, "warehouse"))
         .getOrCreate())
spark.sparkContext.setLogLevel("ERROR")
PID = spark.sparkContext._gateway.proc.pid  # spark-submit execs into the JVM


def cpu():
    f = open(f"/proc/{PID}/stat").read().rsplit(")", 1)[1].split()
    r = resource.getrusage(resource.RUSAGE_SELF)
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK") + r.ru_utime + r.ru_stime


def peak():
    for line in open(f"/proc/{PID}/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024


def iceberg(df: DataFrame, table: str):
    # rows of a repository sit together after the shuffle, so each task sees every day: fanout, no sort
    w = df.withColumn("day", F.to_date("observed_at")).writeTo(table).option("fanout-enabled", "true").option("distribution-mode", "none")
    if spark.catalog.tableExists(table):
        w.append()
    else:
        w.tableProperty("format-version", "2").tableProperty("write.distribution-mode", "none").partitionedBy("day").create()


def clickhouse(df: DataFrame):
    columns = F.struct(*[c for c in os.environ["SERIES"].split(",") if c in df.columns])
    rows = df.select(F.to_json(columns, {"timestampFormat": "yyyy-MM-dd HH:mm:ss.SSS"}))
    spark._jvm.baseline.ClickHouseRows.insert(rows._jdf, f"http://{CLICKHOUSE}", "pulse.github_metrics_timeseries", int(E("INSERT", "50000")))


def batch(df: DataFrame, _: int):
    rows = df.localCheckpoint(eager=False)  # computed once for all sinks
    if CLICKHOUSE:
        iceberg(rows, PROCESSED)
        iceberg(rows.select(raw), RAW)
        clickhouse(rows)
    else:
        rows.write.format("noop").mode("append").save()
    for rdd in spark.sparkContext._jsc.getPersistentRDDs().values():  # localCheckpoint has no unpersist of its own
        rdd.unpersist()


RAW, PROCESSED = "lake.db.base_repos", "lake.db.processed_repos"
source = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", BOOT).option("subscribe", TOPIC)
          .option("startingOffsets", "earliest").option("maxOffsetsPerTrigger", E("BATCH", "500000")))
rows = source.load().select(from_avro(F.expr("substring(value, 6)"), SCHEMA, {"mode": "FAILFAST"}).alias("r")).select("r.*")
raw = rows.columns
cpu0, t0 = cpu(), time.time()
rows = DataFrame(spark._jvm.baseline.RepoVelocities.apply(rows._jdf, os.environ["COUNTERS"]), spark)
rows = rows.withColumn("processed_at", F.current_timestamp()).withColumn("late", F.lit(False))
q = (rows.writeStream.foreachBatch(batch).option("checkpointLocation", os.path.join(WORK, "checkpoint"))
     .trigger(availableNow=True).start())
q.awaitTermination()
t1, cpu1 = time.time(), cpu()
ends = json.loads(q.lastProgress.json)["sources"][0]["endOffset"][TOPIC]
for table in (RAW, PROCESSED) if CLICKHOUSE else ():
    spark.catalog.refreshTable(table)
    if (n := spark.table(table).count()) != sum(ends.values()):
        raise SystemExit(f"{table} has {n} rows of {sum(ends.values())} records")
print(json.dumps({"batches": len(q.recentProgress), "records": sum(ends.values()), "start_s": round(t0 - T0, 2),
                  "query_s": round(t1 - t0, 2), "cpu_s": round(cpu1 - cpu0, 1), "jvm_peak_rss_mb": peak(),
                  "py_peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}), flush=True)
spark.stop()
