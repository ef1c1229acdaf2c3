package github

import "slices"

// Usage is what questions about one owner have cost, and which users the owner
// denies: these are not asked as again.
type Usage struct {
	Points int64
	Killed int64    // queries that GitHub killed
	Denied []string // users, as login@host

	why error // the last of them was denied
}

func (u *Usage) add(points int64, killed bool) {
	u.Points += points
	if killed {
		u.Killed++
	}
}

// deny notes that the owner is not shown to a user.
func (u *Usage) deny(user string, why error) {
	u.why = why
	if !slices.Contains(u.Denied, user) {
		u.Denied = append(u.Denied, user)
	}
}
