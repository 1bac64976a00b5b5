// Command load calls one unary gRPC method as fast as a closed loop of callers allows and reports what came back.
//
// It knows no protobuf: a raw codec sends request bodies as they were written by whoever knows the messages, so the same
// binary drives any service and spends little CPU of its own. Every body file entry is a length-prefixed (big-endian
// uint32) message; callers walk the list round robin. With -serial, the given placeholder is overwritten in every copy by
// a number of the same width that never repeats, so that no two CreateTask requests are the same task.
//
// With -every it polls instead, in an open loop and on a schedule, as an engine polls its jobs; see paced.go.
//
// One JSON object goes to standard output: calls, seconds, rate, latency quantiles, the count of every grpc code, and the
// CPU that this program itself used, which is what it took from a server beside it.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// rawCodec hands bytes through unchanged; it must be called "proto" so that the content type is what servers expect.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return *(v.(*[]byte)), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*(v.(*[]byte)) = append([]byte(nil), data...)
	return nil
}
func (rawCodec) Name() string { return "proto" }

// body is one request and the places where its serial number stands.
type body struct {
	content []byte
	serials []int
}

// withSerial returns the bytes to send for the given call: the shared ones, or a copy that carries its own number.
func (b body) withSerial(number int64, width int) []byte {
	if len(b.serials) == 0 {
		return b.content
	}
	copied := append([]byte(nil), b.content...)
	digits := fmt.Sprintf("%0*d", width, number)
	for _, at := range b.serials {
		copy(copied[at:], digits)
	}
	return copied
}

func readBodies(path, placeholder string) ([]body, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var bodies []body
	for len(data) > 0 {
		if len(data) < 4 {
			return nil, fmt.Errorf("%s ends inside a length prefix", path)
		}
		size := int(binary.BigEndian.Uint32(data))
		if len(data) < 4+size {
			return nil, fmt.Errorf("%s ends inside a message of %d bytes", path, size)
		}
		bodies = append(bodies, body{content: data[4 : 4+size], serials: findAll(data[4:4+size], placeholder)})
		data = data[4+size:]
	}
	if len(bodies) == 0 {
		return nil, fmt.Errorf("%s holds no message", path)
	}
	return bodies, nil
}

func findAll(content []byte, placeholder string) []int {
	var places []int
	for from := 0; placeholder != ""; {
		at := bytes.Index(content[from:], []byte(placeholder))
		if at < 0 {
			break
		}
		places = append(places, from+at)
		from += at + len(placeholder)
	}
	return places
}

// tally is what one caller saw; tallies are merged once all callers are done, so that callers share no lock.
type tally struct {
	latencies []time.Duration
	codes     map[string]int64
	details   map[string]string
	received  int64
}

type options struct {
	address, method, placeholder string
	bodies                       []body
	channels, callers            int
	seconds, timeout             time.Duration
	serialFrom, calls            int64
}

func call(connection *grpc.ClientConn, next *atomic.Int64, deadline time.Time, o options) tally {
	seen := tally{codes: map[string]int64{}, details: map[string]string{}}
	for time.Now().Before(deadline) {
		number := next.Add(1)
		if o.calls > 0 && number > o.calls {
			break
		}
		request := o.bodies[int(number)%len(o.bodies)].withSerial(o.serialFrom+number, len(o.placeholder))
		ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
		var reply []byte
		begun := time.Now()
		err := connection.Invoke(ctx, o.method, &request, &reply)
		seen.latencies = append(seen.latencies, time.Since(begun))
		cancel()
		code := status.Code(err).String()
		seen.codes[code]++
		if err != nil {
			seen.details[code] = status.Convert(err).Message()
		}
		seen.received += int64(len(reply))
	}
	return seen
}

func quantile(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(share*float64(len(sorted)-1))].Nanoseconds()) / 1e6
}

// connect opens the channels; each is an HTTP/2 connection of its own.
func connect(o options) ([]*grpc.ClientConn, error) {
	connections := make([]*grpc.ClientConn, o.channels)
	for i := range connections {
		connection, err := grpc.NewClient(o.address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
		if err != nil {
			return nil, err
		}
		connections[i] = connection
	}
	return connections, nil
}

// cpuSeconds returns the user and system time that this program has used.
func cpuSeconds() float64 {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func run(o options) (map[string]any, error) {
	connections, err := connect(o)
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	var waiting sync.WaitGroup
	tallies := make([]tally, o.callers)
	begun := time.Now()
	for i := range tallies {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			tallies[i] = call(connections[i%o.channels], &next, begun.Add(o.seconds), o)
		}()
	}
	waiting.Wait()
	return merge(tallies, time.Since(begun)), nil
}

func merge(tallies []tally, took time.Duration) map[string]any {
	var latencies []time.Duration
	codes, details, received := map[string]int64{}, map[string]string{}, int64(0)
	for _, seen := range tallies {
		latencies = append(latencies, seen.latencies...)
		received += seen.received
		for code, count := range seen.codes {
			codes[code] += count
		}
		for code, detail := range seen.details {
			details[code] = detail
		}
	}
	sort.Slice(latencies, func(a, b int) bool { return latencies[a] < latencies[b] })
	return map[string]any{
		"calls": len(latencies), "seconds": took.Seconds(), "rate": float64(codes["OK"]) / took.Seconds(),
		"p50_ms": quantile(latencies, 0.50), "p99_ms": quantile(latencies, 0.99), "max_ms": quantile(latencies, 1),
		"codes": codes, "details": details, "received_bytes": received, "load_cpu_s": cpuSeconds(),
	}
}

func main() {
	var o options
	bodiesPath := flag.String("bodies", "", "file of length-prefixed request messages")
	flag.StringVar(&o.address, "address", "", "host:port of the service")
	flag.StringVar(&o.method, "method", "", "full method name, /package.Service/Method")
	flag.StringVar(&o.placeholder, "serial", "", "text to overwrite by a unique number in every request")
	flag.Int64Var(&o.serialFrom, "serial-from", 0, "first unique number")
	flag.IntVar(&o.channels, "channels", 4, "HTTP/2 connections")
	flag.IntVar(&o.callers, "callers", 64, "calls in flight")
	flag.Int64Var(&o.calls, "calls", 0, "how many calls at most; 0 is without limit")
	flag.DurationVar(&o.seconds, "for", 3*time.Second, "how long to call")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Second, "deadline of one call")
	pace := paceFlags()
	flag.Parse()
	var err error
	if o.bodies, err = readBodies(*bodiesPath, o.placeholder); err == nil {
		var result map[string]any
		if pace.every > 0 {
			result, err = runPaced(o, *pace)
		} else {
			result, err = run(o)
		}
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(result)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}
