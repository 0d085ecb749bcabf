import type { RecordedFigure } from '../../bench/lib/scenario.js'
import { type Report, reportFormat } from '../../bench/report/report.js'

/** A figure with default fields. */
export function figure(changes: Partial<RecordedFigure> = {}): RecordedFigure {
  return {
    scenario: 'publish',
    name: 'publish, 100 B',
    unit: 'messages/s',
    better: 'higher',
    values: [100, 110, 105],
    details: {},
    ...changes,
  }
}

/** A made-up report. */
export function report(changes: Partial<Report> = {}): Report {
  return {
    format: reportFormat,
    startedAt: '2026-11-23T07:00:00.000Z',
    durationS: 65,
    complete: true,
    machine: {
      processor: 'a processor',
      processors: 2,
      memoryBytes: 8 * 2 ** 30,
      system: 'linux 6.1 x64',
      disk: { fileSystem: 'ext4', mountOptions: 'rw', device: 'vda', rotational: false },
      versions: { node: '20.20.2', millrace: '0.1.0' },
    },
    loadBefore: 0.1,
    settings: {
      quick: false,
      runs: 3,
      warmUpMs: 2_000,
      measureMs: 5_000,
      gigabytes: 10,
      scenarios: ['publish'],
    },
    contenders: [],
    figures: [figure()],
    failures: [],
    ...changes,
  }
}

/** Redis in one durability and Millrace did the same work; NATS is missing. */
export function reportWithPeers(): Report {
  const work = { scenario: 'peers', name: 'publish, 100 B' }
  const latency = { count: 1_000, p50Ms: 0.8, p90Ms: 1.2, p99Ms: 2, p999Ms: 5, maxMs: 9 }
  const lag = { scenario: 'peers', name: 'latency at 1,000/s', unit: 'ms', better: 'lower' } as const
  return report({
    contenders: [
      { id: 'millrace', system: 'Millrace', durability: 'fsync', settings: [], versions: {} },
      {
        id: 'redis',
        system: 'Redis Streams',
        durability: 'default',
        settings: ['appendonly yes: otherwise nothing is kept'],
        versions: { 'redis-server': '7.0.15' },
      },
      {
        id: 'nats',
        system: 'NATS JetStream',
        durability: 'default',
        settings: [],
        versions: {},
        skipped: { reason: 'nats-server is not installed', install: 'apt-get install nats-server' },
      },
    ],
    figures: [
      figure(),
      figure({ ...work, contender: 'redis', values: [90_000, 100_000, 110_000] }),
      figure({ ...work, values: [900_000, 1_000_000, 1_100_000] }),
      figure({ ...lag, values: [2], latency }),
      figure({ ...lag, contender: 'redis', values: [5], latency: { ...latency, p99Ms: 5 } }),
    ],
  })
}
