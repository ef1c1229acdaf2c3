package sweep

import "fmt"

// Roster is the owners to be swept, by login.
type Roster map[string]Owner

// add lists an owner. Several repositories of one owner become one entry; if the
// whole owner is listed too, they are part of it.
func (r Roster) add(o Owner) error {
	was, ok := r[o.Login]
	switch {
	case !ok:
		r[o.Login] = o
		return nil
	case was.Company != o.Company:
		return fmt.Errorf("owner %s belongs to both %q and %q", o.Login, was.Company, o.Company)
	case len(was.Repos) == 0 && len(o.Repos) > 0:
		return nil
	case len(was.Repos) > 0 && len(o.Repos) > 0:
		o.Repos = append(was.Repos, o.Repos...)
	}
	o, err := o.normal()
	r[o.Login] = o
	return err
}
