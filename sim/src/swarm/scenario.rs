//! Known failures of other controllers, as schedules. Each would fail if the mistake were made here.
//! Names are those of the list of known failures. tidegate's own are files ([`crate::regressions`]).

/// Name, what went wrong elsewhere, and the schedule.
pub const SCENARIOS: &[(&str, &str, &str)] = &[
    (
        "M1",
        "cilium #48050: after an outage the additions of an EndpointSlice were applied, and the \
         removals were not",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         20000 fault outage 8000\n21000 pods t1/web 2,3 -\n60000 pods t1/web 3 -\n240000 quiet\n",
    ),
    (
        "M2",
        "a failed list was taken for an empty one: nothing may go while the API server is away",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         20000 fault outage 900000\n1200000 quiet\n",
    ),
    (
        "M3",
        "traefik #13390: started while the API server was away, without routes, and counted as \
         ready",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         20000 fault gap 30000\n21000 fault controller-dies\n300000 quiet\n",
    ),
    (
        "M5",
        "istio #29599: a restarted control plane pushed what it knew so far, and the rest 24 s later",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         0 service t2/api\n0 pods t2/api 3 -\n0 ingress t2/b b.example api\n60000 quiet\n\
         61000 fault outage 24000\n61001 fault controller-dies\n300000 quiet\n",
    ),
    (
        "M7",
        "haproxytech 5f8e85f0: commands whose answers were not understood counted as applied",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         20000 fault lose-commands 0\n20001 pods t1/web 2 -\n\
         40000 fault lose-commands 1\n40001 pods t1/web 3,4 -\n240000 quiet\n",
    ),
    (
        "M9",
        "ingress-nginx #3834: one wrong certificate, and all hosts got the default one",
        "0 service t1/web\n0 pods t1/web 1 -\n0 secret t1/tls 1\n\
         0 ingress t1/a a.example web tls=tls\n0 service t2/web\n0 pods t2/web 2 -\n\
         0 ingress t2/b b.example web tls=tls\n20000 secret t2/tls 7\n40000 secret t1/tls 2\n\
         60000 pods t1/web 3 -\n300000 quiet\n",
    ),
    (
        "M27",
        "haproxy-ingress d18e72ab: commands went to the old worker while a reload was under way",
        "tier C\n0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         20000 fault slow-files 2000\n20001 service t1/api\n20002 pods t1/api 5,6 -\n\
         20003 ingress t1/b b.example api\n20500 pods t1/web 2,3 -\n240000 quiet\n",
    ),
    (
        "M29",
        "haproxytech 69394cdf: after a failed reload the same state was tried for ever, or never",
        "tier C\n0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         20000 fault disk-full\n20001 service t1/api\n20002 pods t1/api 5,6 -\n\
         20003 ingress t1/b b.example api\n21000 fault disk-full\n22000 pods t1/web 2 -\n\
         300000 quiet\n",
    ),
    (
        "M31",
        "haproxytech 79533942: a map was cleared and then filled",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         0 ingress t1/b b.example web\n60000 quiet\n61000 ingress t1/a a.example web guarded\n\
         240000 quiet\n",
    ),
    (
        "M33",
        "haproxytech a2e43ea6, traefik 8aada7a7d5: two Services got one generated name",
        "0 service t1/web-x\n0 pods t1/web-x 1 -\n0 ingress t1/a a.example web-x\n\
         0 service t1-web/x\n0 pods t1-web/x 2 -\n0 ingress t1-web/b b.example x\n60000 quiet\n",
    ),
    (
        "M35",
        "haproxytech 37c42f65: with more endpoints than slots all servers were deleted",
        "tier C\n0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         20000 pods t1/web 1,2,3 -\n40000 pods t1/web 1,2,3,4 -\n60000 pods t1/web 1,2,3,4,5 -\n\
         80000 pods t1/web 5,6,7,8,9,10,11,12 -\n100000 pods t1/web 12 -\n300000 quiet\n",
    ),
    (
        "M37",
        "linkerd #10370: one slice of several deleted, and the Service had no endpoints at all",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 pods t1/web:2 4 -\n0 service t1/api\n\
         0 pods t1/api 3 -\n0 ingress t1/a a.example web\n0 ingress t1/b b.example api\n\
         20000 no-pods t1/api\n60000 no-pods t1/web:2\n200000 quiet\n",
    ),
    (
        "M49",
        "haproxy-ingress 6404965c: a deleted backend came back from a file that stayed",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n200000 quiet\n\
         200001 no-ingress t1/a\n200002 no-service t1/web\n400000 quiet\n\
         400001 fault worker-dies\n600000 quiet\n",
    ),
    (
        "M57",
        "consul-k8s #5258: many Services left at once, and those that stayed were not told of",
        "0 service t1/one\n0 pods t1/one 5 -\n0 ingress t1/c c.example one\n0 service t1/two\n\
         0 pods t1/two 6 -\n0 ingress t1/d d.example two\n0 service t1/web\n\
         0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n60000 quiet\n\
         61000 fault outage 2000\n61001 no-service t1/one\n61002 no-service t1/two\n\
         61003 pods t1/web 3,4 -\n240000 quiet\n",
    ),
    (
        "M59",
        "cilium #30070: one Ingress of several deleted, and all were unreachable",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         0 ingress t1/b b.example web\n0 ingress t1/c a.example web\n20000 no-ingress t1/a\n\
         40000 no-ingress t1/c\n200000 quiet\n",
    ),
    (
        "M77",
        "openshift router #471: a reload that needs something from a process that is dead",
        "tier C\n0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         20000 service t1/api\n20001 pods t1/api 5 -\n20002 ingress t1/b b.example api\n\
         20100 fault worker-dies\n60000 service t1/db\n60001 pods t1/db 6 -\n\
         60002 ingress t1/c c.example db\n60230 fault worker-dies\n300000 quiet\n",
    ),
];
