package embeddedmongo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The wire protocol: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
const (
	headerLen     = 16
	maxMessageLen = 48_000_000 // what FerretDB announces and accepts

	opQuery = 2004
	opMsg   = 2013

	flagChecksum   = 1 << 0
	flagMoreToCome = 1 << 1
	requiredFlags  = 1<<16 - 1 // those that a receiver must know or refuse
)

var errMalformed = errors.New("malformed message")

// header starts every message.
type header struct {
	length     int32 // of the whole message
	requestID  int32
	responseTo int32
	opCode     int32
}

func parseHeader(b []byte) header {
	at := func(i int) int32 { return int32(binary.LittleEndian.Uint32(b[i:])) }
	return header{at(0), at(4), at(8), at(12)}
}

// readMessage reads a whole message, header included. Its error is io.EOF only
// when r ended between messages.
func readMessage(r io.Reader) ([]byte, error) {
	head := make([]byte, headerLen)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	length := parseHeader(head).length
	if length < headerLen || length > maxMessageLen {
		return nil, fmt.Errorf("%w: length %d", errMalformed, length)
	}
	// Grows with what really arrives, whatever length was announced.
	message := bytes.NewBuffer(head)
	if _, err := io.CopyN(message, r, int64(length)-headerLen); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return message.Bytes(), nil
}

// request is an OP_MSG message: a command.
type request struct {
	header
	flags     uint32
	body      bson.Raw
	sequences []sequence
}

// sequence is a section of kind 1: the elements of one of the command's
// arrays, sent beside it.
type sequence struct {
	name string
	docs []bson.Raw
}

// parseRequest takes a whole OP_MSG message apart; the result refers to it.
func parseRequest(message []byte) (*request, error) {
	if len(message) < headerLen+4 {
		return nil, fmt.Errorf("%w: %d bytes", errMalformed, len(message))
	}
	req := &request{header: parseHeader(message), flags: binary.LittleEndian.Uint32(message[headerLen:])}
	if unknown := req.flags & requiredFlags &^ (flagChecksum | flagMoreToCome); unknown != 0 {
		return nil, fmt.Errorf("%w: unknown flags %#x", errMalformed, unknown)
	}
	rest := message[headerLen+4:]
	if req.flags&flagChecksum != 0 {
		var err error
		if rest, err = verifyChecksum(message, rest); err != nil {
			return nil, err
		}
	}
	for len(rest) > 0 {
		var err error
		kind := rest[0]
		switch rest = rest[1:]; kind {
		case 0:
			if req.body != nil {
				return nil, fmt.Errorf("%w: two bodies", errMalformed)
			}
			req.body, rest, err = cutDocument(rest)
		case 1:
			rest, err = req.cutSequence(rest)
		default:
			err = fmt.Errorf("%w: section of kind %d", errMalformed, kind)
		}
		if err != nil {
			return nil, err
		}
	}
	if req.body == nil {
		return nil, fmt.Errorf("%w: no body", errMalformed)
	}
	return req, nil
}

func verifyChecksum(message, sections []byte) ([]byte, error) {
	if len(sections) < 4 {
		return nil, fmt.Errorf("%w: no checksum", errMalformed)
	}
	end := len(message) - 4
	sum := crc32.Checksum(message[:end], crc32.MakeTable(crc32.Castagnoli))
	if sum != binary.LittleEndian.Uint32(message[end:]) {
		return nil, fmt.Errorf("%w: wrong checksum", errMalformed)
	}
	return sections[:len(sections)-4], nil
}

// cutSequence takes one section of kind 1 from b and returns what follows it.
func (req *request) cutSequence(b []byte) (rest []byte, err error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("%w: section is cut off", errMalformed)
	}
	size := int64(binary.LittleEndian.Uint32(b))
	if size < 4 || size > int64(len(b)) {
		return nil, fmt.Errorf("%w: section of %d bytes", errMalformed, size)
	}
	section, rest := b[4:size], b[size:]
	name, section, found := bytes.Cut(section, []byte{0})
	if !found {
		return nil, fmt.Errorf("%w: section without a name", errMalformed)
	}
	s := sequence{name: string(name)}
	for len(section) > 0 {
		var doc bson.Raw
		if doc, section, err = cutDocument(section); err != nil {
			return nil, err
		}
		s.docs = append(s.docs, doc)
	}
	req.sequences = append(req.sequences, s)
	return rest, nil
}

// cutDocument takes a BSON document, sound in all its depth, from b.
func cutDocument(b []byte) (doc bson.Raw, rest []byte, err error) {
	if len(b) < 5 {
		return nil, nil, fmt.Errorf("%w: document is cut off", errMalformed)
	}
	size := int64(binary.LittleEndian.Uint32(b))
	if size < 5 || size > int64(len(b)) {
		return nil, nil, fmt.Errorf("%w: document of %d bytes", errMalformed, size)
	}
	doc = bson.Raw(b[:size:size])
	if err := validate(doc, 0); err != nil {
		return nil, nil, err
	}
	return doc, b[size:], nil
}

// maxDepth bounds the nesting of documents, as MongoDB does: neither we nor
// FerretDB go down into anything deeper.
const maxDepth = 200

// validate checks a document in all its depth, which bson.Raw doesn't.
func validate(doc bson.Raw, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: nested deeper than %d", errMalformed, maxDepth)
	}
	if err := doc.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	values, err := doc.Values()
	if err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	for _, v := range values {
		ok := true
		var inner bson.Raw
		switch v.Type {
		case bson.TypeEmbeddedDocument:
			inner, ok = v.DocumentOK()
		case bson.TypeArray:
			var array bson.RawArray
			array, ok = v.ArrayOK()
			inner = bson.Raw(array)
		case bson.TypeCodeWithScope:
			_, inner, ok = v.CodeWithScopeOK()
		case bson.TypeString:
			_, ok = v.StringValueOK()
		}
		if !ok {
			return fmt.Errorf("%w: a value of type %v is cut off", errMalformed, v.Type)
		}
		if inner == nil {
			continue
		}
		if err := validate(inner, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// command returns the command's name: the body's first key.
func (req *request) command() string {
	first, err := req.body.IndexErr(0)
	if err != nil {
		return ""
	}
	return first.Key()
}

// array returns the documents of one of the command's arrays, from wherever
// the client has put them; false if they are in no place or in two.
func (req *request) array(name string) ([]bson.Raw, bool) {
	var docs []bson.Raw
	places := 0
	for _, s := range req.sequences {
		if s.name != name {
			return nil, false
		}
		docs = s.docs
		places++
	}
	if value, err := req.body.LookupErr(name); err == nil {
		array, _ := value.ArrayOK()
		values, err := array.Values()
		if err != nil {
			return nil, false
		}
		for _, v := range values {
			doc, ok := v.DocumentOK()
			if !ok {
				return nil, false
			}
			docs = append(docs, doc)
		}
		places++
	}
	return docs, places == 1 && len(docs) > 0
}

// message puts the command together again, without the flags that ask for
// another number of answers than one.
func (req *request) message() []byte {
	b := make([]byte, headerLen+4, headerLen+5+len(req.body))
	b = append(append(b, 0), req.body...)
	for _, s := range req.sequences {
		b = append(b, 1)
		start := len(b)
		b = append(append(b, 0, 0, 0, 0), s.name...)
		b = append(b, 0)
		for _, doc := range s.docs {
			b = append(b, doc...)
		}
		binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start))
	}
	putHeader(b, req.requestID, req.responseTo)
	return b
}

// newMessage makes an OP_MSG message of one document.
func newMessage(doc bson.Raw, requestID, responseTo int32) []byte {
	b := make([]byte, headerLen+5, headerLen+5+len(doc))
	b = append(b, doc...)
	putHeader(b, requestID, responseTo)
	return b
}

func putHeader(b []byte, requestID, responseTo int32) {
	binary.LittleEndian.PutUint32(b[0:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[4:], uint32(requestID))
	binary.LittleEndian.PutUint32(b[8:], uint32(responseTo))
	binary.LittleEndian.PutUint32(b[12:], opMsg)
}
