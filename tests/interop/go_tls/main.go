// A client that speaks TLS as FlytePropeller does where its configuration says `insecure: false`: with the system's
// authorities, no certificate of its own and no token. It asks for health again and again and says what came of it.
package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"flag"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

type result struct {
	Calls  int    `json:"calls"`
	Failed int    `json:"failed"`
	Words  string `json:"words"`
}

func main() {
	address := flag.String("address", "", "host:port")
	plain := flag.Bool("insecure", false, "plain text")
	lasts := flag.Duration("for", 0, "how long to go on")
	flag.Parse()
	json.NewEncoder(os.Stdout).Encode(call(*address, *plain, *lasts))
}

func call(address string, plain bool, lasts time.Duration) result {
	transport := insecure.NewCredentials()
	if !plain {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return result{Words: err.Error()}
		}
		transport = credentials.NewClientTLSFromCert(pool, "")
	}
	connection, err := grpc.NewClient(
		"dns:///"+address,
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
	)
	if err != nil {
		return result{Words: err.Error()}
	}
	defer connection.Close()
	health := grpc_health_v1.NewHealthClient(connection)
	found := result{}
	for until := time.Now().Add(lasts); found.Calls == 0 || time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		limited, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := health.Check(limited, &grpc_health_v1.HealthCheckRequest{})
		cancel()
		found.Calls++
		if err != nil {
			found.Failed++
			found.Words = err.Error()
		}
	}
	return found
}
