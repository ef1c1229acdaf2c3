package event

import (
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// Limits of size, in bytes, from the end of the pipeline to its beginning: each leaves
// room for what the next stage adds. So what one stage accepts, every later stage can
// write.
const (
	// TopicBatch is the largest record batch that our topics take, the
	// max.message.bytes of infra/knative/topics.yaml. It is Kafka's default, stated
	// because a broker may have another.
	TopicBatch = 1_048_588
	// MaxBatch is the largest record batch that our producers write, before it is
	// compressed. A drain refuses topics that take less.
	MaxBatch = 1_000_000
	// MaxRecord is the largest record, its key, value and headers: a batch of one
	// adds its own header and the lengths within.
	MaxRecord = MaxBatch - 1<<10
	// maxVelocities bounds the velocities of a row and its other fields besides the
	// observation.
	maxVelocities = 4 << 10
	// maxProcessed is the largest RepoProcessed, the largest of our payloads.
	maxProcessed = frame + repo.MaxBytes + maxVelocities
	// maxAttribute bounds each text in the attributes of an event: headers in Kafka
	// and in HTTP.
	maxAttribute = 16 << 10
	// maxAttributes bounds the key and the headers of a record of ours: an id, a
	// source, a subject, and short ones.
	maxAttributes = 3*maxAttribute + 1<<10
	// maxReason bounds the reason of a ledger line.
	maxReason = 16 << 10
)

// This does not compile unless the largest row fits in a record, and the largest
// batch in a topic.
const (
	_ = uint(MaxRecord - maxProcessed - maxAttributes)
	_ = uint(MaxRecord - frame - feed.MaxBytes - maxAttributes)
	_ = uint(MaxRecord - frame - signal.MaxBytes - maxAttributes)
	_ = uint(TopicBatch - MaxBatch)
)

// Reason is a text as the reason of a ledger line, cut where it is too long.
func Reason(text string) *string {
	text = shorten(text, maxReason)
	return &text
}
