package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/functions/api/picture"
	"github.com/m7pulse/m7pulse/functions/api/table"
	"github.com/m7pulse/m7pulse/shared/field"
)

// Cached are the parameters of what is shown elsewhere.
type Cached struct {
	IfNoneMatch string `header:"If-None-Match" doc:"An ETag: 304 if the answer is still the same."`
}

func (c *Cached) cached() *Cached { return c }

type cachedInput[I any] interface {
	*I
	cached() *Cached
}

// Readings are hourly, and a badge is asked for with each view of the page that shows it.
const embedSeconds = 300

// embed is something that other sites show.
type embed struct {
	state       hot.State
	definitions []string
	body        []byte
}

// show registers a resource of one media type. Pictures may be shown by any page.
func show[I any, P cachedInput[I]](f *function, api huma.API, op huma.Operation, media string, schema *huma.Schema, handler func(ctx context.Context, in P) (embed, error)) {
	op.Method = http.MethodGet
	op.Errors = append(op.Errors, http.StatusNotFound, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	headers := answerHeaders()
	delete(headers, "Link")
	op.Responses = map[string]*huma.Response{
		"200": {Description: "OK", Headers: headers, Content: map[string]*huma.MediaType{media: {Schema: schema}}},
		"304": {Description: "The answer is the one of If-None-Match."},
	}
	huma.Register(api, op, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		c := P(in).cached()
		tags := c.IfNoneMatch
		c.IfNoneMatch = ""
		return f.reply(ctx, op.OperationID, in, tags, func(ctx context.Context) (reply, error) {
			e, err := handler(ctx, P(in))
			return reply{kind: media, body: e.body, head: func(out huma.Context) {
				out.SetHeader("Cache-Control", fmt.Sprintf("max-age=%d", embedSeconds))
				if media == picture.Type {
					out.SetHeader("Content-Security-Policy", picture.Policy)
					out.SetHeader("Cross-Origin-Resource-Policy", "cross-origin")
				}
				answer(e.state, e.definitions, 0).head(out)
			}}, err
		})
	})
}

// BadgeField is a figure of a repository that a badge shows.
type BadgeField string

func shownOnBadges(d field.Definition) bool {
	return hot.Plottable(d) && (d.Unit == "count" || d.Unit == "count/day")
}

// Schema implements huma.SchemaProvider.
func (BadgeField) Schema(huma.Registry) *huma.Schema {
	s := enumOf(definitionsWhere(shownOnBadges), itself)
	s.Default = "stars_delta_7d"
	s.Description = "The figure: a counter, its change or its rate."
	return s
}

// groupFields are the figures of a group, by the window that they are of.
func groupFields() (names, windows []string) {
	names, windows = []string{"stars", "forks"}, []string{"7d", "7d"}
	for _, w := range []string{"1h", "24h", "7d", "30d"} {
		names, windows = append(names, "stars_delta_"+w, "stars_per_day_"+w), append(windows, w, w)
	}
	return names, windows
}

// GroupBadgeField is a figure of an owner or a company that a badge shows.
type GroupBadgeField string

// Schema implements huma.SchemaProvider.
func (GroupBadgeField) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString, Default: "stars_delta_7d", Description: "The figure, summed over the repositories that are up to date."}
	names, _ := groupFields()
	for _, n := range names {
		s.Enum = append(s.Enum, n)
	}
	return s
}

// Labelled are the parameters of the words of a badge.
type Labelled struct {
	Label string `query:"label" maxLength:"100" doc:"Its left half; the figure in words unless given."`
}

type (
	badgeInput struct {
		Cached
		Name
		Field BadgeField `query:"field"`
		Labelled
	}
	ownerBadgeInput struct {
		Cached
		Owner string          `path:"owner" maxLength:"256" example:"facebook"`
		Field GroupBadgeField `query:"field"`
		Labelled
	}
	companyBadgeInput struct {
		Cached
		Company string          `path:"company" maxLength:"256" example:"meta"`
		Field   GroupBadgeField `query:"field"`
		Labelled
	}
)

// Drawn are the parameters of how a card looks.
type Drawn struct {
	Days  int           `query:"days" minimum:"2" maximum:"366" default:"90" doc:"Of the line, up to the newest reading of all."`
	Theme picture.Theme `query:"theme" enum:"auto,light,dark" default:"auto" doc:"auto: as the reader's browser prefers."`
}

type (
	cardInput struct {
		Cached
		Name
		Drawn
	}
	ownerCardInput struct {
		Cached
		Owner string `path:"owner" maxLength:"256" example:"facebook"`
		Drawn
	}
	companyCardInput struct {
		Cached
		Company string `path:"company" maxLength:"256" example:"meta"`
		Drawn
	}
)

// Shield is a badge for shields.io/endpoint.
type Shield struct {
	SchemaVersion int    `json:"schemaVersion" enum:"1"`
	Label         string `json:"label"`
	Message       string `json:"message"`
	Color         string `json:"color"`
	CacheSeconds  int    `json:"cacheSeconds"`
}

// embeds are what other sites show.
func (f *function) embeds(api huma.API) {
	svg := func() *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: "SVG."} }
	for _, form := range []struct{ end, id, what, media string }{
		{"badge.svg", "badge", "A badge", picture.Type},
		{"badge.json", "shield", "A badge for shields.io/endpoint", table.JSON},
	} {
		schema := svg()
		if form.media == table.JSON {
			schema = huma.SchemaFromType(api.OpenAPI().Components.Schemas, reflect.TypeFor[Shield]())
		}
		op := func(of, path string) huma.Operation {
			return huma.Operation{OperationID: "get-" + of + "-" + form.id, Path: v1 + path + "/" + form.end, Tags: []string{"Embeds"}, Summary: form.what + " of " + map[string]string{"repository": "a repository", "owner": "an owner", "company": "a company"}[of]}
		}
		show(f, api, op("repository", "/repositories/{owner}/{name}"), form.media, schema, func(ctx context.Context, in *badgeInput) (embed, error) {
			b, state, err := f.repositoryBadge(ctx, in, "/"+form.end)
			return badge(b, state, string(in.Field), in.Label, form.media, err)
		})
		show(f, api, op("owner", "/owners/{owner}"), form.media, schema, func(ctx context.Context, in *ownerBadgeInput) (embed, error) {
			b, state, err := f.groupBadge(ctx, hot.Owner, in.Owner, &in.Field)
			return badge(b, state, string(in.Field), in.Label, form.media, err)
		})
		show(f, api, op("company", "/companies/{company}"), form.media, schema, func(ctx context.Context, in *companyBadgeInput) (embed, error) {
			b, state, err := f.groupBadge(ctx, hot.Company, in.Company, &in.Field)
			return badge(b, state, string(in.Field), in.Label, form.media, err)
		})
	}
	op := func(of, path, what string) huma.Operation {
		return huma.Operation{OperationID: "get-" + of + "-card", Path: v1 + path + "/card.svg", Tags: []string{"Embeds"}, Summary: "A card with a line, of " + what}
	}
	show(f, api, op("repository", "/repositories/{owner}/{name}", "a repository"), picture.Type, svg(), f.repositoryCard)
	show(f, api, op("owner", "/owners/{owner}", "an owner"), picture.Type, svg(), func(ctx context.Context, in *ownerCardInput) (embed, error) {
		return f.groupCard(ctx, hot.Owner, in.Owner, in.Drawn)
	})
	show(f, api, op("company", "/companies/{company}", "a company"), picture.Type, svg(), func(ctx context.Context, in *companyCardInput) (embed, error) {
		return f.groupCard(ctx, hot.Company, in.Company, in.Drawn)
	})
	f.feed(api)
	f.oEmbed(api)
}

// badge is the answer that a badge is sent in.
func badge(b picture.Badge, state hot.State, of, label, media string, err error) (embed, error) {
	if err != nil {
		return embed{}, err
	}
	if label != "" {
		b.Label = label
	}
	if state.Simulated {
		b.Message += " (simulated)"
	}
	e := embed{state: state, definitions: []string{of}}
	if media == picture.Type {
		e.body, err = b.SVG()
	} else {
		e.body, err = json.Marshal(Shield{1, b.Label, b.Message, b.Tone.Color(), embedSeconds})
	}
	return e, err
}

func (f *function) repositoryBadge(ctx context.Context, in *badgeInput, below string) (picture.Badge, hot.State, error) {
	if in.Field == "" {
		in.Field = "stars_delta_7d"
	}
	d, _ := hot.Define(string(in.Field)) // the schema lets only those pass that are defined
	r, state, err := f.find(ctx, &in.Name, below, []field.Definition{d})
	if err != nil {
		return picture.Badge{}, state, err
	}
	value := maybe(r.Values[0])
	b := picture.Badge{Label: inWords(d.Name), Message: figure(d, value), Tone: tone(d, value)}
	if !r.IsCurrent {
		b.Tone = picture.Unknown
	}
	return b, state, nil
}

func (f *function) groupBadge(ctx context.Context, kind hot.Kind, name string, of *GroupBadgeField) (picture.Badge, hot.State, error) {
	if *of == "" {
		*of = "stars_delta_7d"
	}
	members, state, err := f.members(ctx, kind, name)
	if err != nil {
		return picture.Badge{}, state, err
	}
	windows, err := hot.Groups(ctx, f.conn, kind, "", name, 4)
	if err != nil {
		return picture.Badge{}, state, err
	}
	names, spans := groupFields()
	span := spans[slices.Index(names, string(*of))]
	var value *float64
	for _, g := range windows {
		if g.Window == span {
			value = ofGroup(g, string(*of))
		}
	}
	if kind == hot.Owner {
		name = members[0].Owner
	}
	d, _ := hot.Define(string(*of))
	return picture.Badge{Label: name + " " + inWords(d.Name), Message: figure(d, value), Tone: tone(d, value)}, state, nil
}

// ofGroup is a figure of a group, nil if it is not known.
func ofGroup(g hot.Group, of string) *float64 {
	count := func(v *int64) *float64 {
		if v == nil {
			return nil
		}
		return new(float64(*v))
	}
	switch {
	case of == "stars":
		return count(&g.Stars)
	case of == "forks":
		return count(g.Forks)
	case strings.HasPrefix(of, "stars_delta_"):
		return count(g.StarsDelta)
	}
	return g.StarsPerDay
}

// inWords is a field as people say it: stars_delta_7d is stars, 7 days.
func inWords(name string) string {
	over := ""
	for _, w := range []struct{ end, words string }{{"_1h", ", 1 hour"}, {"_24h", ", 24 hours"}, {"_7d", ", 7 days"}, {"_30d", ", 30 days"}} {
		if short, ok := strings.CutSuffix(name, w.end); ok {
			name, over = short, w.words
		}
	}
	name = strings.TrimSuffix(name, "_delta")
	if short, ok := strings.CutSuffix(name, "_per_day"); ok {
		name = short + " a day"
	}
	return strings.ReplaceAll(strings.NewReplacer("_prs", "_pull_requests", "commits_total", "commits").Replace(name), "_", " ") + over
}

func isChange(d field.Definition) bool {
	return d.Unit == "count/day" || strings.Contains(d.Name, "_delta")
}

func tone(d field.Definition, value *float64) picture.Tone {
	switch {
	case value == nil:
		return picture.Unknown
	case !isChange(d):
		return picture.Neutral
	case *value > 0:
		return picture.Rise
	case *value < 0:
		return picture.Fall
	}
	return picture.Neutral
}

// figure writes a value as people read it; a change has its sign.
func figure(d field.Definition, value *float64) string {
	switch {
	case value == nil:
		return "not known"
	case d.Unit == "count/day":
		return withSign(*value, strconv.FormatFloat(*value, 'f', 1, 64))
	case isChange(d):
		return withSign(*value, grouped(int64(*value)))
	}
	return grouped(int64(*value))
}

func withSign(value float64, text string) string {
	text = strings.Replace(text, "-", "−", 1) // as wide as a plus
	if value > 0 {
		return "+" + text
	}
	return text
}

// grouped writes a whole number with commas.
func grouped(v int64) string {
	digits, sign := strconv.FormatInt(v, 10), ""
	if v < 0 {
		digits, sign = digits[1:], "-"
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// maybe is a figure that may not be known.
func maybe(v any) *float64 {
	switch v := v.(type) {
	case int64:
		return new(float64(v))
	case float64:
		return &v
	}
	return nil
}

func foot(state hot.State) string {
	switch {
	case state.AsOf == nil:
		return "M7 Pulse"
	case state.Simulated:
		return "simulated · M7 Pulse"
	}
	return "read " + state.AsOf.UTC().Format("2 Jan 2006") + " · M7 Pulse"
}

// changes are the figures of a card beside the large one.
func changes(values map[string]*float64) (out []picture.Change) {
	for _, w := range []struct{ window, words string }{{"24h", "in 24 hours"}, {"7d", "in 7 days"}, {"30d", "in 30 days"}} {
		d, _ := hot.Define("stars_delta_" + w.window)
		v := values[w.window]
		text := "–"
		if v != nil {
			text = figure(d, v)
		}
		out = append(out, picture.Change{Value: text, Caption: w.words, Tone: tone(d, v)})
	}
	return out
}

func (f *function) repositoryCard(ctx context.Context, in *cardInput) (embed, error) {
	fields, _ := hot.DefinedAll([]string{"stars", "stars_delta_24h", "stars_delta_7d", "stars_delta_30d", "company", "primary_language"})
	r, state, err := f.find(ctx, &in.Name, "/card.svg", fields)
	if err != nil {
		return embed{}, err
	}
	span, err := f.lastDays(ctx, in.Days)
	if err != nil {
		return embed{}, err
	}
	lines, err := hot.Lines(ctx, f.conn, hot.Repository, []string{fmt.Sprint(r.RepoID)}, fields[:1], span, 1)
	if err != nil {
		return embed{}, err
	}
	var about []string
	for _, name := range []string{"company", "primary_language"} {
		if v, ok := r.Value(name).(string); ok && v != "" {
			about = append(about, v)
		}
	}
	if !r.IsCurrent {
		about = append(about, "out of date")
	}
	c := picture.Card{
		Title: r.Label, Subtitle: strings.Join(about, " · "), Figure: figure(fields[0], maybe(r.Value("stars"))), Caption: "stars",
		Changes: changes(map[string]*float64{"24h": maybe(r.Value("stars_delta_24h")), "7d": maybe(r.Value("stars_delta_7d")), "30d": maybe(r.Value("stars_delta_30d"))}),
		Legend:  fmt.Sprintf("stars, %d days", in.Days), Foot: foot(state), Theme: in.Theme,
	}
	if len(lines) > 0 {
		c.Line = lines[0].Values
	}
	body, err := c.SVG()
	return embed{state, []string{"stars", "stars_delta_24h", "stars_delta_7d", "stars_delta_30d"}, body}, err
}

func (f *function) groupCard(ctx context.Context, kind hot.Kind, name string, drawn Drawn) (embed, error) {
	members, state, err := f.members(ctx, kind, name)
	if err != nil {
		return embed{}, err
	}
	windows, err := hot.Groups(ctx, f.conn, kind, "", name, 4)
	if err != nil {
		return embed{}, err
	}
	span, err := f.lastDays(ctx, drawn.Days)
	if err != nil {
		return embed{}, err
	}
	rate, _ := hot.Define("stars_per_day_7d")
	lines, err := hot.Lines(ctx, f.conn, kind, []string{name}, []field.Definition{rate}, span, 1)
	if err != nil {
		return embed{}, err
	}
	known := int64(0)
	for _, m := range members {
		known += m.Repositories
	}
	if kind == hot.Owner {
		name = members[0].Owner
	}
	c := picture.Card{Title: name, Subtitle: grouped(known) + " repositories", Figure: "–", Caption: "stars", Legend: fmt.Sprintf("stars a day over a week, %d days", drawn.Days), Foot: foot(state), Theme: drawn.Theme}
	if known == 1 {
		c.Subtitle = "1 repository"
	}
	net := map[string]*float64{}
	for _, g := range windows {
		c.Figure = grouped(g.Stars)
		net[g.Window] = ofGroup(g, "stars_delta_"+g.Window)
	}
	if len(windows) == 0 {
		c.Subtitle += " · out of date"
	}
	c.Changes = changes(net)
	if len(lines) > 0 {
		c.Line = lines[0].Values
	}
	body, err := c.SVG()
	return embed{state, []string{"stars", "stars_delta_24h", "stars_delta_7d", "stars_delta_30d", "stars_per_day_7d"}, body}, err
}

// Site are the parameters that say at which address the caller sees this server.
type Site struct {
	Proto  string `header:"X-Forwarded-Proto" hidden:"true"`
	Origin string // scheme and host
}

// Resolve implements huma.Resolver.
func (s *Site) Resolve(ctx huma.Context) []error {
	scheme := "http"
	if ctx.TLS() != nil || s.Proto == "https" {
		scheme = "https"
	}
	s.Proto, s.Origin = "", scheme+"://"+ctx.Host()
	return nil
}

type oEmbedInput struct {
	Cached
	Site
	URL       string `query:"url" required:"true" maxLength:"2048" doc:"An address of the page of this server: the view of a repository, an owner or a company."`
	Format    string `query:"format" enum:"json" default:"json"`
	MaxWidth  int    `query:"maxwidth" minimum:"1" doc:"The most pixels that there is room for; a card is 420 wide."`
	MaxHeight int    `query:"maxheight" minimum:"1"`
}

// OEmbed is what a site needs to show a card (oembed.com).
type OEmbed struct {
	Version      string `json:"version" enum:"1.0"`
	Type         string `json:"type" enum:"rich"`
	Title        string `json:"title"`
	ProviderName string `json:"provider_name"`
	ProviderURL  string `json:"provider_url"`
	CacheAge     int    `json:"cache_age" doc:"Seconds."`
	Width        int    `json:"width"`
	Height       int    `json:"height"`
	HTML         string `json:"html" doc:"A link to the page with a card as its image."`
}

func (f *function) oEmbed(api huma.API) {
	show(f, api, huma.Operation{
		OperationID: "get-oembed", Path: v1 + "/oembed", Tags: []string{"Embeds"}, Summary: "How another site shows a view of the page: oEmbed",
	}, table.JSON, huma.SchemaFromType(api.OpenAPI().Components.Schemas, reflect.TypeFor[OEmbed]()), func(ctx context.Context, in *oEmbedInput) (embed, error) {
		at, err := url.Parse(in.URL)
		unknown := huma.Error404NotFound("want the address of a repository, an owner or a company on the page of this server")
		if err != nil || at.Scheme+"://"+at.Host != in.Origin || at.Path != "/" && at.Path != "" {
			return embed{}, unknown
		}
		name, title := at.Query().Get("name"), ""
		var resource string
		var state hot.State
		switch at.Query().Get("view") {
		case "repository":
			owner, short, _ := strings.Cut(name, "/")
			r, s, err := f.find(ctx, &Name{Owner: owner, Name: short}, "", nil)
			if err != nil {
				return embed{}, elsewhere(err)
			}
			owner, short, _ = strings.Cut(r.Name, "/")
			title, state, resource = r.Label, s, "repositories/"+url.PathEscape(owner)+"/"+url.PathEscape(short)
		case "owner":
			members, s, err := f.members(ctx, hot.Owner, name)
			if err != nil {
				return embed{}, err
			}
			title, state, resource = members[0].Owner, s, "owners/"+url.PathEscape(members[0].Owner)
		case "company":
			_, s, err := f.members(ctx, hot.Company, name)
			if err != nil {
				return embed{}, err
			}
			title, state, resource = name, s, "companies/"+url.PathEscape(name)
		default:
			return embed{}, unknown
		}
		o := OEmbed{
			Version: "1.0", Type: "rich", Title: title, ProviderName: "M7 Pulse", ProviderURL: in.Origin + "/", CacheAge: embedSeconds,
			Width: picture.CardWidth, Height: picture.CardHeight,
		}
		for _, most := range [][2]int{{in.MaxWidth, o.Width}, {in.MaxHeight, o.Height}} {
			if most[0] > 0 && most[0] < most[1] {
				o.Width, o.Height = max(1, o.Width*most[0]/most[1]), max(1, o.Height*most[0]/most[1])
			}
		}
		view := url.URL{Path: "/", RawQuery: url.Values{"view": {at.Query().Get("view")}, "name": {name}}.Encode()}
		o.HTML = fmt.Sprintf(`<a href="%s"><img src="%s" width="%d" height="%d" alt="%s"></a>`,
			html.EscapeString(in.Origin+view.String()), html.EscapeString(in.Origin+v1+"/"+resource+"/card.svg"), o.Width, o.Height, html.EscapeString(title+" on M7 Pulse"))
		body, err := json.Marshal(o)
		return embed{state, []string{}, body}, err
	})
}

// elsewhere is an error of a resource that has no redirects.
func elsewhere(err error) error {
	var moved huma.StatusError
	if errors.As(err, &moved) && moved.GetStatus() == http.StatusMovedPermanently {
		return huma.Error404NotFound(moved.Error())
	}
	return err
}

// discoverable says in a header of the page which answer embeds the view (oEmbed).
func discoverable(files http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if view := r.URL.Query().Get("view"); r.URL.Path == "/" && slices.Contains([]string{"repository", "owner", "company"}, view) {
			scheme := "http"
			if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
				scheme = "https"
			}
			w.Header().Set("Link", "<"+v1+"/oembed?url="+url.QueryEscape(scheme+"://"+r.Host+r.URL.RequestURI())+`>; rel="alternate"; type="application/json+oembed"; title="M7 Pulse"`)
		}
		files.ServeHTTP(w, r)
	})
}
