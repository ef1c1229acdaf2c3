package api

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/shared/event"
)

// atomType is the media type of feeds.
const atomType = "application/atom+xml"

// feedEntries bounds a feed: readers keep what they have seen.
const feedEntries = 50

// tagPrefix begins the ids of feeds and entries (RFC 4151); they stay whatever the
// address of the server is.
const tagPrefix = "tag:m7pulse.dev,2026:"

type (
	atomFeed struct {
		XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
		ID      string      `xml:"id"`
		Title   string      `xml:"title"`
		Updated string      `xml:"updated"`
		Author  atomPerson  `xml:"author"`
		Links   []atomLink  `xml:"link"`
		Entries []atomEntry `xml:"entry"`
	}
	atomEntry struct {
		ID         string         `xml:"id"`
		Title      string         `xml:"title"`
		Updated    string         `xml:"updated"`
		Link       atomLink       `xml:"link"`
		Categories []atomCategory `xml:"category"`
		Content    atomText       `xml:"content"`
	}
	atomPerson struct {
		Name string `xml:"name"`
	}
	atomLink struct {
		Rel  string `xml:"rel,attr"`
		Type string `xml:"type,attr"`
		Href string `xml:"href,attr"`
	}
	atomCategory struct {
		Term string `xml:"term,attr"`
	}
	atomText struct {
		Type string `xml:"type,attr"`
		Text string `xml:",chardata"`
	}
)

type feedInput struct {
	Cached
	Site
	Scope
	Kind     []SignalKind `query:"kind" maxItems:"50" doc:"Those of these kinds, separated by commas; all unless given."`
	Severity string       `query:"severity" enum:"info,notice,warning,critical" doc:"Those of this severity or a higher one."`
}

func (f *function) feed(api huma.API) {
	show(f, api, huma.Operation{
		OperationID: "get-signals-feed", Path: v1 + "/signals.atom", Tags: []string{"Embeds"}, Summary: fmt.Sprintf("The newest %d signals as an Atom feed, of one repository, an owner, a company or all", feedEntries),
	}, atomType, &huma.Schema{Type: huma.TypeString, Description: "Atom (RFC 4287). Texts are plain texts."}, func(ctx context.Context, in *feedInput) (embed, error) {
		scope, state, err := f.scope(ctx, &in.Scope)
		if err != nil {
			return embed{}, err
		}
		of := hot.SignalChoice{Scope: scope, Least: in.Severity}
		for _, k := range in.Kind {
			of.Kinds = append(of.Kinds, string(k))
		}
		found, err := hot.Signals(ctx, f.conn, of, nil, feedEntries)
		if err != nil {
			return embed{}, err
		}
		q := url.Values{}
		for _, p := range [][2]string{{"repository", in.Repository}, {"owner", in.Owner}, {"company", in.Company}, {"severity", in.Severity}} {
			if p[1] != "" {
				q.Set(p[0], p[1])
			}
		}
		if len(of.Kinds) > 0 {
			q.Set("kind", strings.Join(of.Kinds, ","))
		}
		own := v1 + "/signals.atom"
		if len(q) > 0 {
			own += "?" + q.Encode()
		}
		feed := atomFeed{
			ID: tagPrefix + "signals?" + q.Encode(), Title: "Signals of " + scope.String(), Updated: time.Unix(0, 0).UTC().Format(time.RFC3339), Author: atomPerson{"M7 Pulse"},
			Links: []atomLink{{"self", atomType, in.Origin + own}, {"alternate", "text/html", in.Origin + "/"}},
		}
		if len(found) > 0 {
			feed.Updated = found[0].ObservedAt.UTC().Format(time.RFC3339Nano)
		}
		for _, s := range found {
			feed.Entries = append(feed.Entries, entry(s, in.Origin))
		}
		body, err := xml.Marshal(feed)
		if err != nil {
			return embed{}, fmt.Errorf("write a feed: %w", err)
		}
		return embed{state, []string{}, append([]byte(xml.Header), append(body, '\n')...)}, nil
	})
}

func entry(s event.Signal, origin string) atomEntry {
	view, of := "owner", s.Owner
	if s.NameWithOwner != nil {
		view, of = "repository", *s.NameWithOwner
	}
	about := s.Words + fmt.Sprintf(" (%s, %s", s.Severity, s.Kind)
	if s.Metric != nil && s.Value != nil {
		about += fmt.Sprintf("; %s %g", *s.Metric, *s.Value)
		if s.Usual != nil {
			about += fmt.Sprintf(", usual %.4g", *s.Usual)
		}
	}
	return atomEntry{
		ID: tagPrefix + "signal/" + url.PathEscape(s.ID), Title: s.Words, Updated: s.ObservedAt.UTC().Format(time.RFC3339Nano),
		Link:       atomLink{"alternate", "text/html", origin + "/?" + url.Values{"view": {view}, "name": {of}}.Encode()},
		Categories: []atomCategory{{s.Kind}, {s.Severity}},
		Content:    atomText{"text", about + ")"},
	}
}
