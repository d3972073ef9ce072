package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// watchIdle is how long an idle connection is watched: longer than nginx keeps
// one, and a few seconds at most.
func watchIdle(kept time.Duration) time.Duration {
	return min(max(3*time.Second, kept+time.Second), 10*time.Second)
}

// idle: a service of one's own keeps idle connections for longer than nginx does.
// A request that nginx sends on one that the service closes at that moment is
// lost. (Of the ToDo service it is known.)
func (x *examination) idle(ctx context.Context) {
	const name = "idle connections"
	kept := x.Proxy.Config().Idle()
	for _, i := range x.status.Instances {
		if !i.Running || !i.Ready || len(i.Own) == 0 {
			continue
		}
		watched := watchIdle(kept)
		closed, after, err := idleFor(ctx, i.Port, i.ReadyPath(), watched)
		switch {
		case err != nil:
			x.note(name, "", "how long the service on port %d keeps one can't be measured: %v", i.Port, err)
		case !closed:
			x.ok(name, "the service on port %d keeps one for more than %v, nginx for %v", i.Port, watched, kept)
		case after > kept+kept/4:
			x.ok(name, "the service on port %d closes one after %v, nginx before, after %v", i.Port, after, kept)
		case after < 5*time.Millisecond:
			x.ok(name, "the service on port %d keeps none", i.Port)
		default:
			x.fail(name, fmt.Sprintf("migrate nginx start --upstream-idle-timeout %v", (after/2).Round(time.Millisecond)),
				"the service on port %d closes one after %v, but nginx keeps it for %v: a request that is sent on it then is lost", i.Port, after, kept)
		}
	}
}

// idleFor asks for a path and measures when the service closes the connection,
// if it does so within a time.
func idleFor(ctx context.Context, port int, path string, within time.Duration) (closed bool, after time.Duration, err error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false, 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return false, 0, err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", path, port); err != nil {
		return false, 0, err
	}
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		return false, 0, err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return false, 0, err
	}
	if resp.Close {
		return true, 0, nil
	}
	began := time.Now()
	if err := conn.SetDeadline(began.Add(within)); err != nil {
		return false, 0, err
	}
	_, err = reader.ReadByte()
	after = time.Since(began)
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		return false, 0, ctx.Err()
	case errors.As(err, &timeout) && timeout.Timeout():
		return false, after, nil
	case err == nil:
		return false, 0, errors.New("it says something that nobody asked for")
	case after > 100*time.Millisecond:
		after = after.Round(10 * time.Millisecond)
	}
	return true, after.Round(time.Millisecond), nil
}
