"""The same job in Apache Spark Structured Streaming: Kafka (Confluent-framed Avro) -> deltas per repository -> two sinks.

State by flatMapGroupsWithState in Java (java/baseline), the fastest of the forms that were tried: no row passes through
Python. Generous to Spark: state stays in the JVM, nothing is produced back to Kafka, the second sink drops
its rows, and the start of the JVM is not counted.

Environment (defaults in brackets):
  BOOT   bootstrap servers [127.0.0.1:9092]   TOPIC [github.base_repos]   SCHEMA  the records' Avro schema
  JARS   folder made by setup.sh              WORK  folder for checkpoint and output, emptied at the start
  JOB    velocities: 92 of the 133 fields of aggregate, by the same definitions [default]; deltas: three counters alone
  SINK   iceberg: the first sink writes an Iceberg table [default]; noop: it drops its rows too
  BATCH  maxOffsetsPerTrigger [500000]        CORES [2]   HEAP [6g]   PARTS shuffle partitions [4]
  T0     epoch seconds at which the process was launched
Prints one JSON line.
"""
import glob, json, os, resource, shutil, time

E = os.environ.get
T0 = float(E("T0", time.time()))
BOOT, TOPIC = E("BOOT", "127.0.0.1:9092"), E("TOPIC", "github.base_repos")
JARS, WORK, SINK, JOB = os.environ["JARS"], os.environ["WORK"], E("SINK", "iceberg"), E("JOB", "velocities")
SCHEMA = open(os.environ["SCHEMA"]).read()

shutil.rmtree(WORK, ignore_errors=True)
os.makedirs(WORK)

from pyspark.sql import DataFrame, SparkSession, functions as F
from pyspark.sql.avro.functions import from_avro

want = ("spark-sql-kafka", "spark-avro", "spark-token-provider", "kafka-clients", "commons-pool2", "baseline", "iceberg-spark-runtime")
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


def iceberg(df: DataFrame):
    # rows of a repository sit together after the shuffle, so each task sees every day: fanout, no sort
    w = df.withColumn("day", F.to_date("observed_at")).writeTo("lake.db.repo_metrics").option("fanout-enabled", "true").option("distribution-mode", "none")
    if spark.catalog.tableExists("lake.db.repo_metrics"):
        w.append()
    else:
        w.tableProperty("format-version", "2").tableProperty("write.distribution-mode", "none").partitionedBy("day").create()


def batch(df: DataFrame, _: int):
    rows = df.localCheckpoint(eager=False)  # computed once for both sinks
    if SINK == "iceberg":
        iceberg(rows)
    else:
        rows.write.format("noop").mode("append").save()
    rows.write.format("noop").mode("append").save()
    for rdd in spark.sparkContext._jsc.getPersistentRDDs().values():  # localCheckpoint has no unpersist of its own
        rdd.unpersist()


source = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", BOOT).option("subscribe", TOPIC)
          .option("startingOffsets", "earliest").option("maxOffsetsPerTrigger", E("BATCH", "500000")))
rows = source.load().select(from_avro(F.expr("substring(value, 6)"), SCHEMA, {"mode": "FAILFAST"}).alias("r")).select("r.*")
cpu0, t0 = cpu(), time.time()
job = {"deltas": spark._jvm.baseline.RepoDeltas, "velocities": spark._jvm.baseline.RepoVelocities}[JOB]
rows = DataFrame(job.apply(rows._jdf), spark)
q = (rows.writeStream.foreachBatch(batch).option("checkpointLocation", os.path.join(WORK, "checkpoint"))
     .trigger(availableNow=True).start())
q.awaitTermination()
t1, cpu1 = time.time(), cpu()
ends = json.loads(q.lastProgress.json)["sources"][0]["endOffset"][TOPIC]
print(json.dumps({"job": JOB, "sink": SINK, "batches": len(q.recentProgress), "records": sum(ends.values()), "start_s": round(t0 - T0, 2),
                  "query_s": round(t1 - t0, 2), "cpu_s": round(cpu1 - cpu0, 1), "jvm_peak_rss_mb": peak(),
                  "py_peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}), flush=True)
spark.stop()
