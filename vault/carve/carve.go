// Package carve reads the rows of an SQLite file that SQLite itself refuses:
// page by page, without following the tree that leads to them, so that what is
// whole is found whatever else is broken.
//
// It knows no table, no key and no row's meaning, and vouches for nothing: a row
// may be an older state, or nonsense. Source of the layout: sqlite.org/fileformat2.html.
package carve

import "encoding/binary"

// A Row is a row of some table. A value is nil, int64, string or []byte; others,
// which are kept by nobody here, are nil.
type Row struct {
	Rowid  int64
	Values []any
}

const (
	fileHeader  = 100 // bytes before the first page's own header
	leafTable   = 0x0d
	walHeader   = 32
	frameHeader = 24
	minPage     = 512
	maxPage     = 65536
	usualPage   = 4096
	maxColumns  = 64
)

// A file is a database with its write-ahead log.
type file struct {
	database []byte
	size     int            // of a page
	usable   int            // of it, without what is reserved at its end
	frames   map[int][]byte // the newest state of pages in the log
}

// Read calls each with every row that a page of a table holds, in the database
// and in its write-ahead log up to the last commit, whatever is broken around it.
// A row can come more than once, in different states. It never fails: of what is
// no database it reads nothing. Byte strings are copies.
func Read(database, log []byte, each func(Row)) {
	f := &file{database: database, size: usualPage, usable: usualPage, frames: map[int][]byte{}}
	if len(database) >= fileHeader {
		size := int(binary.BigEndian.Uint16(database[16:]))
		if size == 1 {
			size = maxPage
		}
		if reserved := int(database[20]); validPage(size) && size-reserved >= minPage-32 {
			f.size, f.usable = size, size-reserved
		}
	}
	for n := 1; n*f.size <= len(database); n++ {
		f.leaf(n, f.page(n), f.page, each)
	}
	for _, transaction := range f.committed(log) {
		for _, frame := range transaction {
			f.frames[frame.number] = frame.page
		}
		for _, frame := range transaction { // a row's pages may come behind its leaf
			f.leaf(frame.number, frame.page, f.newest, each)
		}
	}
}

func validPage(size int) bool { return size >= minPage && size <= maxPage && size&(size-1) == 0 }

// page returns a page of the database; nil when there is none.
func (f *file) page(n int) []byte {
	if n < 1 || n > len(f.database)/f.size {
		return nil
	}
	return f.database[(n-1)*f.size : n*f.size]
}

// newest returns a page as the log has it, else as the database does.
func (f *file) newest(n int) []byte {
	if p := f.frames[n]; p != nil {
		return p
	}
	return f.page(n)
}

// A frame is one page in the log.
type frame struct {
	number int
	page   []byte
}

// committed returns the frames of the log that belong to it, by transaction, up to
// the last that was committed. A broken frame does not hide those behind it.
func (f *file) committed(log []byte) [][]frame {
	if len(log) < walHeader || binary.BigEndian.Uint32(log)&^1 != 0x377f0682 {
		return nil
	}
	if size := int(binary.BigEndian.Uint32(log[8:])); size != f.size {
		return nil
	}
	var transactions [][]frame
	var open []frame
	for at := walHeader; at+frameHeader+f.size <= len(log); at += frameHeader + f.size {
		head := log[at : at+frameHeader]
		if string(head[8:16]) != string(log[16:24]) { // of a log that was here before
			continue
		}
		open = append(open, frame{int(binary.BigEndian.Uint32(head)), log[at+frameHeader : at+frameHeader+f.size]})
		if binary.BigEndian.Uint32(head[4:]) != 0 {
			transactions, open = append(transactions, open), nil
		}
	}
	return transactions
}

// leaf reads the rows of a page, if it is a table's leaf.
func (f *file) leaf(n int, page []byte, pages func(int) []byte, each func(Row)) {
	at := 0
	if n == 1 {
		at = fileHeader
	}
	if len(page) < at+8 || page[at] != leafTable {
		return
	}
	cells := int(binary.BigEndian.Uint16(page[at+3:]))
	for i := range cells {
		pointer := at + 8 + 2*i
		if pointer+2 > f.usable {
			return
		}
		cell := int(binary.BigEndian.Uint16(page[pointer:]))
		if cell >= f.usable {
			continue
		}
		if r, ok := f.cell(page[cell:f.usable], pages); ok {
			each(r)
		}
	}
}

// cell reads one row.
func (f *file) cell(b []byte, pages func(int) []byte) (Row, bool) {
	length, n := varint(b)
	if n == 0 || length < 1 || length > int64(len(f.database)+len(f.frames)*f.size) {
		return Row{}, false
	}
	rowid, m := varint(b[n:])
	if m == 0 {
		return Row{}, false
	}
	payload, ok := f.payload(b[n+m:], int(length), pages)
	if !ok {
		return Row{}, false
	}
	values, ok := record(payload)
	return Row{rowid, values}, ok
}

// payload returns what a cell holds, with what of it lies on overflow pages.
func (f *file) payload(b []byte, length int, pages func(int) []byte) ([]byte, bool) {
	local := length
	if most := f.usable - 35; length > most {
		least := (f.usable-12)*32/255 - 23
		local = least + (length-least)%(f.usable-4)
		if local > most {
			local = least
		}
	}
	if local == length {
		if length > len(b) {
			return nil, false
		}
		return b[:length], true
	}
	if local+4 > len(b) {
		return nil, false
	}
	whole := append(make([]byte, 0, local), b[:local]...)
	next := int(binary.BigEndian.Uint32(b[local:]))
	for len(whole) < length {
		page := pages(next)
		if page == nil { // the chain grows with each page, so that a circle ends too
			return nil, false
		}
		whole = append(whole, page[4:4+min(length-len(whole), f.usable-4)]...)
		next = int(binary.BigEndian.Uint32(page))
	}
	return whole, true
}

// record takes a row's payload apart.
func record(b []byte) ([]any, bool) {
	size, n := varint(b)
	if n == 0 || size < int64(n) || size > int64(len(b)) {
		return nil, false
	}
	types, body := b[n:size], b[size:]
	var values []any
	for len(types) > 0 {
		kind, n := varint(types)
		if n == 0 || len(values) == maxColumns {
			return nil, false
		}
		types = types[n:]
		v, length, ok := value(kind, body)
		if !ok {
			return nil, false
		}
		values, body = append(values, v), body[length:]
	}
	return values, true
}

// widths are the lengths of values of the serial types below 12.
var widths = [...]int{0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0}

// value reads a value of a serial type.
func value(kind int64, b []byte) (v any, length int, ok bool) {
	switch {
	case kind < 0:
		return nil, 0, false
	case kind >= int64(len(widths)):
		return bytesOf(kind-int64(len(widths)), b)
	case widths[kind] > len(b):
		return nil, 0, false
	case kind == 8 || kind == 9:
		return kind - 8, 0, true
	case kind == 0 || kind >= 7:
		return nil, widths[kind], true
	}
	length = widths[kind]
	n := int64(int8(b[0])) //nolint:gosec // the sign is in the first byte
	for _, c := range b[1:length] {
		n = n<<8 | int64(c)
	}
	return n, length, true
}

// bytesOf reads a blob, or for odd kinds a text, of half as many bytes.
func bytesOf(kind int64, b []byte) (v any, length int, ok bool) {
	if kind/2 > int64(len(b)) {
		return nil, 0, false
	}
	length = int(kind / 2)
	if kind%2 == 1 {
		return string(b[:length]), length, true
	}
	return append([]byte{}, b[:length]...), length, true
}

// varint reads SQLite's numbers of variable length; n is 0 when it is cut off.
func varint(b []byte) (v int64, n int) {
	for i, c := range b {
		if i == 8 {
			return v<<8 | int64(c), 9
		}
		v = v<<7 | int64(c&0x7f)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
