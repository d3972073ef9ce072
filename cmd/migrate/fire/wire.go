package fire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// errNotSent says that the request never left.
var errNotSent = errors.New("not sent")

// conn is one keep-alive connection. It sends a request once: net/http's
// client would repeat some, and a history would show one where there were two.
type conn struct {
	address string
	timeout time.Duration
	nc      net.Conn
	in      *bufio.Reader
}

func newConn(address string, timeout time.Duration) *conn {
	return &conn{address: address, timeout: timeout}
}

// do sends a request and reads its answer; tag is the ETag. After an error the connection is
// closed, and the next request opens another.
func (c *conn) do(method, path string, header http.Header, body string) (status int, tag string, answer []byte, err error) {
	if c.nc == nil {
		nc, err := net.DialTimeout("tcp", c.address, c.timeout)
		if err != nil {
			return 0, "", nil, fmt.Errorf("%w: %w", errNotSent, err)
		}
		c.nc, c.in = nc, bufio.NewReader(nc)
	}
	res, answer, err := c.exchange(method, path, header, body)
	if err != nil {
		c.close()
		return 0, "", nil, err
	}
	if res.Close {
		c.close()
	}
	return res.StatusCode, res.Header.Get("ETag"), answer, nil
}

func (c *conn) exchange(method, path string, header http.Header, body string) (*http.Response, []byte, error) {
	if err := c.nc.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, c.address)
	if err := header.Write(&b); err != nil {
		return nil, nil, err
	}
	if method != http.MethodGet {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	if _, err := c.nc.Write(b.Bytes()); err != nil {
		return nil, nil, err
	}
	res, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res, answer, err
}

func (c *conn) close() {
	if c.nc != nil {
		c.nc.Close()
		c.nc, c.in = nil, nil
	}
}
