package hot

import (
	"context"
	"encoding/json"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Mover is one repository in a ranking.
type Mover struct {
	Company    string
	Repository string
	RepoID     int64
	Former     bool // another repository has its name now
	Language   string
	Stars      int64
	Window     string
	Delta      *int64   // net stars over the window
	PerDay     *float64 // by which it is ranked
	ObservedAt time.Time
}

// MarshalJSON names the figures as every table and command does.
func (m Mover) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"company": m.Company, "repository": m.Repository, "repo_id": m.RepoID, "language": m.Language, "stars": m.Stars,
		"stars_delta_" + m.Window: m.Delta, "stars_per_day_" + m.Window: m.PerDay, "observed_at": m.ObservedAt,
	})
}

// Label is the repository's name, with its id if another has that name now.
func (m Mover) Label() string { return label(m.Repository, m.RepoID, m.Former) }

// Movers ranks the repositories of each company by stars per day over a
// window. Only repositories observed in the three days before the newest
// observation take part: a rate of one that is no longer read is out of date.
func Movers(ctx context.Context, conn Reader, window string, each int) ([]Mover, error) {
	return list(ctx, conn, "rank the repositories", func(r driver.Rows, m *Mover) error {
		m.Window = window
		return r.Scan(&m.Company, &m.Repository, &m.RepoID, &m.Former, &m.Language, &m.Stars, &m.Delta, &m.PerDay, &m.ObservedAt)
	}, `
		SELECT ifNull(company, owner) AS company_, name_with_owner, repo_id, former, ifNull(primary_language, ''), stars, stars_delta_`+window+`, stars_per_day_`+window+` AS rate, observed_at
		FROM `+newestRows+`
		WHERE `+current+`
		ORDER BY company_, rate DESC NULLS LAST, stars DESC, repo_id
		LIMIT ? BY company_`, each)
}
