// Package knative runs the manifests of infra/knative and the func.yaml of each
// function on one machine, without Kubernetes. It is an emulation: it keeps the
// behaviours below, which are those of the real thing that our functions can
// see, and nothing else of Knative.
//
// Serving, one replica per function:
//   - A function is a child process, started by the first request and stopped
//     with SIGTERM when it had no request for the stable window (60 s).
//   - Requests wait while it starts, a bounded number of them for a bounded time.
//   - A process that dies is started again by the next request, after a back-off.
//   - Its environment is what func.yaml says, and little else.
//
// PingSource: an event at each time of the cron expression, five more attempts.
//
// KafkaSource, unordered:
//   - One POST per record, 50 in flight, body as it is in Kafka, attributes as
//     ce- headers; a record that is not a CloudEvent becomes one.
//   - After a 5xx, 404, 408, 409, 429 or no answer the delivery is repeated as the
//     manifest says; after that, and after any other status, it is given up.
//   - A new source begins after the records that are there.
//   - Offsets are committed every 5 s, in the order of each partition, so after
//     a crash records are delivered again.
//
// KafkaTopic: missing topics are created.
//
// Not here: more than one replica, revisions and traffic splitting, concurrency
// limits, brokers and triggers, dead letter sinks, ordered delivery, TLS
// between source and function, resource limits. Load refuses a manifest with a
// field that the emulation does not implement, so that none is ignored.
package knative
