package traces

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// spansOf reads spans from lines of "id parent name link…"; - stands for no parent. Each
// begins a second after the one before.
func spansOf(text string) map[string]Span {
	found := map[string]Span{}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		words := strings.Fields(line)
		s := Span{ID: words[0], Parent: strings.Trim(words[1], "-"), Name: words[2], Links: words[3:], Began: time.Unix(int64(i), 0)}
		found[s.ID] = s
	}
	return found
}

func outline(nodes []*Node, depth int) (text string) {
	for _, n := range nodes {
		text += fmt.Sprintf("%s%s\n", strings.Repeat(" ", depth), n.Name) + outline(n.Children, depth+1)
	}
	return text
}

func TestSpansBecomeTreesInOrderOfTime(t *testing.T) {
	for name, c := range map[string]struct{ spans, want string }{
		"a sweep": {
			"1 - tick\n2 1 part1\n3 2 page1\n4 3 block\n5 2 page2\n6 1 part2",
			"tick\n part1\n  page1\n   block\n  page2\n part2\n",
		},
		"a block whose first record came from elsewhere is under the page that it is linked to": {
			"1 - tick\n2 1 page\n3 9 block 8 2",
			"tick\n page\n  block\n",
		},
		"a block that is within one page and linked to another is shown once": {
			"1 - tick\n2 1 page1\n3 1 page2\n4 2 block 3",
			"tick\n page1\n  block\n page2\n",
		},
		"a span whose parent is gone is a tree of its own": {
			"1 9 page\n2 1 block\n3 - wake",
			"page\n block\nwake\n",
		},
		"spans that are within each other are shown apart": {
			"1 2 a\n2 1 b\n3 - c",
			"a\nb\nc\n",
		},
	} {
		if got := outline(trees(spansOf(c.spans)), 0); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}
