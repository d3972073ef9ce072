package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// maxAnswer is the largest answer that is read, in bytes.
const maxAnswer = 64 << 20

// conn is one keep-alive connection. It sends a request once: net/http's own
// client would repeat some on another connection, and so hide what is lost.
type conn struct {
	addr    string
	timeout time.Duration
	nc      net.Conn
	in      *bufio.Reader
}

func newConn(addr string, timeout time.Duration) *conn {
	return &conn{addr: addr, timeout: timeout}
}

// answer is what came back.
type answer struct {
	status int
	tag    string // the ETag
	body   []byte
}

// code returns the error code in the body, empty if there is none.
func (a answer) code() string {
	var e struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	if json.Unmarshal(a.body, &e) != nil {
		return ""
	}
	return e.Error.Code
}

// errNotSent says that the request never left: the service can't have acted on it.
var errNotSent = errors.New("not sent")

// do sends a request and reads its answer. After an error the connection is
// closed, and the next request opens another.
func (c *conn) do(method, path, contentType, body string) (answer, error) {
	if c.nc == nil {
		nc, err := net.DialTimeout("tcp", c.addr, c.timeout)
		if err != nil {
			return answer{}, fmt.Errorf("%w: %w", errNotSent, err)
		}
		c.nc, c.in = nc, bufio.NewReader(nc)
	}
	a, last, err := c.exchange(method, path, contentType, body)
	if err != nil || last {
		c.close()
	}
	return a, err
}

// exchange reports, too, whether this answer is the connection's last one.
func (c *conn) exchange(method, path, contentType, body string) (a answer, last bool, err error) {
	if err := c.nc.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return a, true, err
	}
	var req bytes.Buffer
	fmt.Fprintf(&req, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: migrate-load\r\n", method, path, c.addr)
	if contentType != "" {
		fmt.Fprintf(&req, "Content-Type: %s\r\n", contentType)
	}
	if method != http.MethodGet {
		fmt.Fprintf(&req, "Content-Length: %d\r\n", len(body))
	}
	req.WriteString("\r\n" + body)
	if _, err := c.nc.Write(req.Bytes()); err != nil {
		return a, true, err
	}
	res, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return a, true, err
	}
	defer res.Body.Close()
	a.status, a.tag = res.StatusCode, res.Header.Get("ETag")
	a.body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return a, res.Close, err
}

func (c *conn) close() {
	if c.nc != nil {
		c.nc.Close()
		c.nc, c.in = nil, nil
	}
}

// kindOf names a failure, for counting.
func kindOf(a answer, err error) string {
	switch {
	case err == nil:
		return strings.TrimSpace(fmt.Sprintf("status %d %s", a.status, a.code()))
	case errors.Is(err, errNotSent):
		return "connect"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	}
	return "other"
}

// certainlyNot reports whether a request that failed can have changed nothing:
// it never left, or the service says so. Everything else may have happened.
func certainlyNot(a answer, err error) bool {
	if err != nil {
		return errors.Is(err, errNotSent)
	}
	if a.status >= 400 && a.status < 500 {
		return true
	}
	code := a.code()
	return a.status == http.StatusServiceUnavailable && (code == "unavailable" || code == "refused")
}
