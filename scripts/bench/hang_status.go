package main

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	_ "modernc.org/sqlite" // a foreign program that holds a lock
)

const (
	looks     = 3  // at status, while a database hangs
	usualRate = 20 // requests a second meanwhile, four of five of them GETs
)

// saysSo finds what a line says of a database that does not answer.
var saysSo = regexp.MustCompile(`(?i)not answer|no answer|hang|lock|busy|unavailable|unreachable|out of reach|timed? ?out|deadline`)

// locked looks at status at step 4 while a foreign program holds the old
// database, which is primary, locked.
func (h *hanging) locked(ctx context.Context, p *page) error {
	return h.statuses(ctx, p, "Status at step 4 while a foreign program holds the old database locked (BEGIN EXCLUSIVE)", "old", lockOld)
}

// stopped looks at status at step 5 while the new database, which is primary
// there, is stopped.
func (h *hanging) stopped(ctx context.Context, p *page) error {
	return h.statuses(ctx, p, "Status at step 5 while the new database, now primary, is stopped (SIGSTOP)", "new", stopServer)
}

// statuses compares status with all well and with the primary hanging.
func (h *hanging) statuses(ctx context.Context, p *page, title, primary string, stop func(context.Context, *site) (func(), error)) error {
	told := map[*site]string{}
	turn := func(ctx context.Context, s *site) (values, error) {
		v, lines, err := h.status(ctx, s, stop)
		told[s] = lines
		return v, err
	}
	c, err := h.compare(ctx, "status with "+primary+" as hanging primary", h.both, h.defaults(1), turn)
	if err != nil {
		return err
	}
	rows := [][]string{{"build", "status well, s", "hanging, s", "worst, s", "exit", "says so"}}
	for _, side := range h.sides(c) {
		s := h.both.now
		if side.name == h.both.base.name {
			s = h.both.base
		}
		rows = append(rows, []string{side.name, figure(of(side.turns, "well").median), figure(of(side.turns, "hanging").median),
			figure(of(side.turns, "worst").most), fmt.Sprintf("%.0f", of(side.turns, "exit").most), yes(saysSo.MatchString(told[s]))})
	}
	worst := of(c.now, "worst").most
	p.want("status with "+primary+" as hanging primary", fmt.Sprintf("≤ %v", statusTime), figure(worst)+" s at most", worst <= statusTime.Seconds())
	p.want("and it says so", "yes", yes(saysSo.MatchString(told[h.both.now])), saysSo.MatchString(told[h.both.now]))
	p.heading(title)
	p.table(rows)
	p.text("The lines of `migrate status` that differ from when all is well, of %s:", h.baseline.name)
	p.quote(told[h.both.base])
	p.text("and of the present build:")
	p.quote(told[h.both.now])
	return nil
}

func yes(so bool) string {
	if so {
		return "yes"
	}
	return "no"
}

// status asks with all well, and some times while the primary hangs. It returns
// the lines that differ.
func (h *hanging) status(ctx context.Context, s *site, stop func(context.Context, *site) (func(), error)) (values, string, error) {
	c := newClients(s.entrance(), hangRate)
	defer c.close()
	ids, err := createMany(ctx, c, "Jane", usualRate/5*int(settleTime/time.Second))
	if err != nil {
		return nil, "", err
	}
	open := openConsoles(ctx, s, fewPages)
	defer open.close()
	if err := open.round(ctx); err != nil {
		return nil, "", err
	}
	well, err := s.must(ctx, "status")
	if err != nil {
		return nil, "", err
	}
	goOn, err := stop(ctx, s)
	if err != nil {
		return nil, "", err
	}
	defer goOn()
	using, done := context.WithCancel(ctx)
	used := make(chan *result, 1)
	go func() { used <- c.paced(using, usualRate, mixed(h.read[s], &supply{ids: ids})) }() // people go on
	v, lines := values{"well": well.took.Seconds()}, ""
	var all []float64
	for range looks {
		sleep(ctx, every)
		o, err := s.run(ctx, "status")
		if err != nil {
			done()
			<-used
			return nil, "", err
		}
		all = append(all, o.took.Seconds())
		v["exit"] = max(v["exit"], float64(o.code))
		lines = differing(well.stdout, o.stdout+o.stderr)
	}
	v["hanging"], v["worst"] = summarize(all).median, summarize(all).most
	done()
	goOn()
	<-used
	return v, lines, s.settled(ctx)
}

// differing are the lines of now that are not in before, without the processes'
// numbers and counts that always change.
func differing(before, now string) string {
	known := strings.Split(before, "\n")
	var lines []string
	for line := range strings.SplitSeq(now, "\n") {
		if line = strings.TrimRight(line, " "); line != "" && !slices.Contains(known, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// lockOld holds the old database as a foreign program may. The returned
// function lets it go.
func lockOld(ctx context.Context, s *site) (func(), error) {
	db, err := sql.Open("sqlite", "file:"+s.old()+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		return nil, fmt.Errorf("lock %s: %w", s.old(), err)
	}
	held := true
	return func() {
		if held {
			held = false
			_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			_ = conn.Close()
			_ = db.Close()
		}
	}, nil
}
