//! Known failures of other controllers, and of tidegate itself, as schedules. Each would fail if
//! the mistake were made here. Names are those of the list of known failures.

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
        "M35",
        "haproxytech 37c42f65: with more endpoints than slots all servers were deleted",
        "tier C\n0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n\
         20000 pods t1/web 1,2,3 -\n40000 pods t1/web 1,2,3,4 -\n60000 pods t1/web 1,2,3,4,5 -\n\
         80000 pods t1/web 5,6,7,8,9,10,11,12 -\n100000 pods t1/web 12 -\n300000 quiet\n",
    ),
    (
        "M37",
        "linkerd #10370: one slice of several deleted, and the Service had no endpoints at all",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 service t1/api\n0 pods t1/api 3 -\n\
         0 ingress t1/a a.example web\n0 ingress t1/b b.example api\n20000 no-pods t1/api\n\
         200000 quiet\n",
    ),
    (
        "M49",
        "haproxy-ingress 6404965c: a deleted backend came back from a file that stayed",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n200000 quiet\n\
         200001 no-ingress t1/a\n200002 no-service t1/web\n400000 quiet\n\
         400001 fault worker-dies\n600000 quiet\n",
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
         20100 fault worker-dies\n300000 quiet\n",
    ),
    (
        "own-unpublished",
        "tidegate: a backend that was unpublished with ready servers was read back as published, \
         and a route moved to it",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 service t1/api\n0 pods t1/api 3 -\n\
         0 ingress t1/a a.example web\n0 ingress t1/b b.example api\n\
         20000 ingress t1/a a.example api\n20003 fault lose-commands 1\n\
         20008 ingress t1/a a.example web\n200000 quiet\n",
    ),
    (
        "own-adopted",
        "tidegate: started again with nothing left to want, it never compared the files, and \
         deleted routes came back with HAProxy's next start",
        "0 service t1/web\n0 pods t1/web 1,2 -\n0 ingress t1/a a.example web\n200000 quiet\n\
         200001 no-ingress t1/a\n200010 fault controller-dies\n400000 quiet\n",
    ),
    (
        "own-refused-address",
        "tidegate: a slot was made ready in the same breath as it got its address; HAProxy refused \
         the address alone, and the pod before, another tenant's by now, served",
        "tier C\n0 service t2/web\n0 pods t2/web 1,2 -\n0 ingress t2/i2 d.example web guarded\n\
         1000 pods t2/web - -\n1000 pods t1/web 1,2 -\n1010 fault refuse-command\n\
         21010 pods t2/web 7,8 -\n220000 quiet\n",
    ),
    (
        "own-full-slots",
        "tidegate: all pods of a Service that filled its slots were replaced; it waited for a \
         reload, the addresses before served another tenant, and a new route led to them",
        "tier C\n0 ingress t2/i1 c.example api tls=tls\n0 service t2/api\n\
         1000 pods t2/api 1,2,10,11 -\n1000 fault outage 17367\n\
         1000 ingress t2/i2 d.example api tls=tls guarded\n1000 pods t2/api 5,7 -\n\
         1000 pods t1/api 1,2,10,11 -\n220000 quiet\n",
    ),
    (
        "own-refused-publish",
        "tidegate: HAProxy refused to publish a backend and made its servers ready; read back, \
         those were taken for a sign that it was published, and its routes met 503",
        "0 service t2/web\n0 ingress t2/i2 d.example web tls=tls\n0 pods t2/web 5 -\n\
         854 no-ingress t2/i2\n864 fault refuse-command\n\
         864 ingress t2/i2 d.example web tls=tls\n220000 quiet\n",
    ),
    (
        "own-restart-in-outage",
        "the judge: a tidegate that starts during an outage cannot know what the one before was \
         told last",
        "tier C\n0 service t2/api\n1000 fault lose-files 0\n1000 ingress t2/i2 d.example web guarded\n\
         1546 fault slow-files 3260\n2288 service t2/web\n2388 pods t2/web 3,6 12\n\
         2488 pods t2/api 7 -\n2569 ingress t2/i2 d.example api tls=tls guarded\n\
         2569 fault outage 17063\n2569 fault controller-dies\n220000 quiet\n",
    ),
    (
        "own-lost-publish",
        "tidegate: the same, and the answers were lost",
        "0 service t1/web\n0 pods t1/web 9 -\n0 ingress t1/i2 b.example web guarded\n\
         533 ingress t1/i2 b.example api guarded\n543 fault lose-commands 5\n\
         543 fault slow-commands 554\n543 ingress t1/i1 a.example web\n543 fault refuse-command\n\
         543 pods t1/web 1,9 -\n220000 quiet\n",
    ),
    (
        "own-full-disk",
        "the judge: what waits for a reload waits as long as a full disk fails it, and for the \
         pause after that, which doubles",
        "tier C\n1000 fault disk-full\n1000 fault disk-full\n1000 fault disk-full\n\
         1000 ingress t2/i2 d.example web guarded\n1000 fault disk-full\n1000 service t2/web\n\
         1000 pods t2/web 2,5 -\n1000 fault outage 15701\n220000 quiet\n",
    ),
    (
        "own-last-pods",
        "the judge: pods that are leaving may get requests while their Service has no others",
        "0 service t2/api\n0 ingress t2/i2 d.example api guarded\n0 fault outage 17363\n\
         0 ingress t2/i1 c.example api tls=tls\n0 no-ingress t2/i2\n0 pods t2/api - 8\n\
         220000 quiet\n",
    ),
    (
        "own-refused-claim",
        "tidegate: servers joined a spare backend whose claim HAProxy refused, and served with it \
         when another Service claimed it",
        "tier B\n0 service t2/web\n0 service t2/api\n\
         0 ingress t2/i2 d.example api tls=tls guarded\n0 fault outage 9427\n1000 pods t2/web 1 -\n\
         4058 no-ingress t2/i2\n7204 fault refuse-command\n7204 ingress t2/i1 c.example web\n\
         13453 ingress t2/i1 c.example api tls=tls\n24768 pods t2/api 6 -\n220000 quiet\n",
    ),
    (
        "own-same-address",
        "the judge: the pod at an address is another one after the Service it is of has changed",
        "0 service t1/web\n0 service t1/api\n0 pods t1/web 1,5 -\n\
         0 ingress t1/i2 b.example web guarded\n1000 fault outage 15688\n\
         1001 ingress t1/i2 b.example api guarded\n1001 pods t1/api 1,4,3 -\n\
         1001 ingress t1/i1 a.example web\n1001 pods t1/web - -\n220000 quiet\n",
    ),
];
