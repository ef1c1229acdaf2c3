package sinkiceberg

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// draftBranch is the branch of drafts.
const draftBranch = "m7pulse-draft"

// branch is the branch of drafts in a Nessie catalog, beside the published one. The
// published branch is part of the catalog's address: http://host:19120/iceberg/main.
type branch struct {
	api      string // http://host:19120/api/v2
	from     string // the published branch
	location Location
}

// nessieLimit is the longest that one request may take.
const nessieLimit = 10 * time.Second

// branchOf returns the branch of drafts, or nil if the catalog has no branches.
func branchOf(ctx context.Context, at Location) (*branch, error) {
	u, err := url.Parse(at.Catalog)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil
	}
	root, ref, ok := strings.Cut(u.Path, "/iceberg")
	if !ok || ref != "" && !strings.HasPrefix(ref, "/") {
		return nil, nil
	}
	b := &branch{location: at}
	u.Path = root + "/api/v2"
	b.api = u.String()
	var config struct {
		DefaultBranch string `json:"defaultBranch"`
	}
	if found, err := b.ask(ctx, http.MethodGet, "/config", nil, &config); err != nil || !found || config.DefaultBranch == "" {
		return nil, err
	}
	var warehouse string
	b.from, warehouse, _ = strings.Cut(strings.Trim(ref, "/"), "|")
	if b.from == "" {
		b.from = config.DefaultBranch
	}
	u.Path = root + "/iceberg/" + draftBranch
	if warehouse != "" {
		u.Path += "|" + warehouse
	}
	b.location.Catalog = u.String()
	return b, nil
}

// reference is how Nessie names a state of a branch.
type reference struct {
	Type string `json:"type"`
	Name string `json:"name"`
	Hash string `json:"hash"`
}

// head returns the state of a branch, or "" if there is no such branch.
func (b *branch) head(ctx context.Context, name string) (string, error) {
	var answer struct {
		Reference reference `json:"reference"`
	}
	_, err := b.ask(ctx, http.MethodGet, "/trees/"+url.PathEscape(name), nil, &answer)
	return answer.Reference.Hash, err
}

// create makes the branch at the head of the published one.
func (b *branch) create(ctx context.Context) error {
	hash, err := b.head(ctx, b.from)
	if err != nil {
		return err
	}
	query := url.Values{"name": {draftBranch}, "type": {"BRANCH"}}
	found, err := b.ask(ctx, http.MethodPost, "/trees?"+query.Encode(), reference{"BRANCH", b.from, hash}, nil)
	if err == nil && !found {
		err = fmt.Errorf("there is no branch %s in the catalog", b.from)
	}
	return err
}

// drop removes the branch, if it is there.
func (b *branch) drop(ctx context.Context) error {
	hash, err := b.head(ctx, draftBranch)
	if err != nil || hash == "" {
		return err
	}
	_, err = b.ask(ctx, http.MethodDelete, "/trees/"+draftBranch+"@"+hash+"?type=BRANCH", nil, nil)
	return err
}

// ask sends one request to Nessie's API. 404 is not an error: found is false.
func (b *branch) ask(ctx context.Context, method, path string, body, answer any) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, nessieLimit)
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("nessie: %s %s: %w", method, path, err)
		}
	}()
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return false, err
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, b.api+path, sent)
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return false, err
	case resp.StatusCode == http.StatusNotFound:
		return false, nil
	case resp.StatusCode >= 300:
		return false, errors.New(resp.Status + ": " + string(text[:min(len(text), 300)]))
	case answer == nil:
		return true, nil
	}
	return true, json.Unmarshal(text, answer)
}
