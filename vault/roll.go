package vault

import (
	"bytes"
	"context"
	"slices"
	"strconv"

	"keyturn/pkg/pam"
)

// A roll is what the manifest lists of one group and owner, to tick off the rows
// that are there. It is for one goroutine, and small: an entry costs its name and
// sixteen bytes.
type roll struct {
	all   bool // the manifest says nothing of the group: every row is welcome
	pages [manifestPages]rollPage
	size  int
}

// A rollPage is what is on one page of the manifest.
type rollPage struct {
	names []byte // one after another
	rows  []rolled
}

// A rolled is one entry, its name being names[from:to].
type rolled struct {
	revision int64 // less than 0 when it was ticked off
	from, to uint32
}

func (p *rollPage) name(r rolled) []byte { return p.names[r.from:r.to] }

// roll reads what the manifest lists of g and owner.
func (t *txn) roll(ctx context.Context, g group, owner pam.UID) (*roll, error) {
	l := &roll{all: !g.listed()}
	if l.all {
		return l, nil
	}
	prefix := strconv.Itoa(int(g)) + "/"
	if owner == every {
		return l, t.eachPage(ctx, func(n int, p *page) { l.add(n, p, prefix) })
	}
	n := key{owner: string(owner)}.page()
	p, err := t.page(ctx, n)
	if err != nil {
		return nil, err
	}
	l.add(n, p, prefix+string(owner)+"/")
	return l, nil
}

// add notes a page's entries that begin with prefix.
func (l *roll) add(n int, p *page, prefix string) {
	to := &l.pages[n]
	count, length := 0, 0
	p.each(prefix, func(entry []byte, _ int64) { count, length = count+1, length+len(entry) })
	to.names, to.rows = make([]byte, 0, length), make([]rolled, 0, count)
	p.each(prefix, func(entry []byte, revision int64) {
		from := len(to.names)
		to.names = append(to.names, entry...)
		to.rows = append(to.rows, rolled{revision, uint32(from), uint32(len(to.names))}) //nolint:gosec // a page is less than 4 GiB
	})
	slices.SortFunc(to.rows, func(a, b rolled) int { return bytes.Compare(to.name(a), to.name(b)) })
	l.size += len(to.rows)
}

// tick ticks off a row, which must be as the manifest says.
func (l *roll) tick(r row) error {
	if l.all {
		return nil
	}
	p, entry := &l.pages[r.page()], []byte(r.entry())
	i, listed := slices.BinarySearchFunc(p.rows, entry, func(r rolled, entry []byte) int { return bytes.Compare(p.name(r), entry) })
	if !listed {
		return compare(r, true, 0, false)
	}
	if p.rows[i].revision < 0 { // a row that is there twice does not stand for another
		return tampered("%s is there twice", r.key)
	}
	if err := compare(r, true, p.rows[i].revision, true); err != nil {
		return err
	}
	p.rows[i].revision = -1
	return nil
}

// complete says which row was not ticked off.
func (l *roll) complete() error {
	for _, p := range l.pages {
		for _, r := range p.rows {
			if r.revision >= 0 {
				return tampered("row %s is missing", p.name(r))
			}
		}
	}
	return nil
}
