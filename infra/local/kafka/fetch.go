package kafka

import (
	"math"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// BoundFetches has a kfake answer fetches of committed records completely.
//
// A fetch that reaches its limit in bytes within a partition is answered with that
// partition's batches, but without the list of aborted transactions among them
// (handleFetch leaves the loop before it makes the list), and a reader without the
// list takes their records for committed. So no fetch may reach its limit: each
// partition gets an equal share of it instead, at which kfake ends a partition
// correctly. A fetch session would hide how many partitions there are from all
// requests but its first, so none is begun.
func BoundFetches(c *kfake.Cluster) {
	const fetch = 1 // its key in Kafka's protocol
	fetches := 0    // controls run one after the other
	c.ControlKey(fetch, func(r kmsg.Request) (kmsg.Response, error, bool) {
		if r, ok := r.(*kmsg.FetchRequest); ok && r.IsolationLevel == readCommitted {
			share(r)
		}
		if fetches++; fetches == renewAfter {
			c.DropControl()
			BoundFetches(c)
		}
		return nil, nil, false
	})
}

// renewAfter is after how many fetches the control is replaced by another: kfake
// keeps a control's last request of every connection for as long as the control.
const renewAfter = 1_000

// readCommitted is the isolation level, in Kafka's protocol, of who reads no
// records of transactions that are open or were aborted.
const readCommitted = 1

// share divides a fetch's limit among its partitions. A batch that is larger than
// its share is still answered if it is the fetch's first. It is safe to repeat.
func share(r *kmsg.FetchRequest) {
	partitions := 0
	for _, t := range r.Topics {
		partitions += len(t.Partitions)
	}
	if partitions == 0 {
		return
	}
	most := max(1, r.MaxBytes/int32(partitions))
	for t := range r.Topics {
		for p := range r.Topics[t].Partitions {
			limit := &r.Topics[t].Partitions[p].PartitionMaxBytes
			*limit = min(*limit, most)
		}
	}
	r.MaxBytes = math.MaxInt32
	if r.SessionEpoch == 0 {
		r.SessionEpoch = -1
	}
}
