import type { commands } from '../../protocol/index.js'

const uuid = '6f1d7a52-0c1e-4b8e-9d43-5a2f3c1b0e77'
const settings = { retentionMs: 604_800_000, retentionBytes: -1, batchBytesMax: 4_194_304 }
const summary = { name: 'orders', topicId: 7, partitions: 8, createdAtMs: 1_767_225_600_000, settings }
const assignment = {
  generation: 4_294_967_297,
  partitions: [{ topicId: 7, topic: 'orders', partition: 3, epoch: 4_294_967_300, committedOffset: 42 }],
}

const queueSettings = {
  order: 'key',
  attemptsMax: 5,
  retry: { kind: 'exponential', delayMs: 1_000, maxMs: 3_600_000, jitterPercent: 20 },
  ttlMs: 0,
  expired: 'dead-letter',
  priorities: false,
  paused: false,
}

type CommandName = keyof typeof commands

/** One request and one reply of every command. */
export const goldenBodies: Record<CommandName, { readonly request: unknown; readonly reply: unknown }> = {
  hello: {
    request: {
      versionMin: 1,
      versionMax: 1,
      clientName: 'app',
      clientVersion: '0.1.0',
      connection: { client: uuid, lane: 'control', number: 3 },
    },
    reply: {
      version: 1,
      brokerId: 0,
      brokerVersion: '0.1.0',
      limits: {
        frameBytesMax: 16_777_216,
        batchBytesMax: 4_194_304,
        inFlightRequestsMax: 1024,
        fetchWaitMsMax: 60_000,
        sessionTimeoutMsMin: 1_000,
        sessionTimeoutMsMax: 1_800_000,
      },
    },
  },
  backupBegin: {
    request: {},
    reply: { backupId: uuid, position: 1_000_000, bytes: 5_000_000_000, brokerVersion: '0.1.0' },
  },
  backupRead: {
    request: { backupId: uuid, chunk: 3 },
    reply: { part: 'journal', entries: 16, checksum: 3_735_928_559 },
  },
  backupEnd: { request: { backupId: uuid }, reply: {} },
  ping: { request: {}, reply: {} },
  status: {
    request: {},
    reply: {
      brokerId: 0,
      version: '0.1.0',
      nodeVersion: 'v20.19.0',
      pid: 4242,
      startedAtMs: 1_767_225_600_000,
      uptimeMs: 1_000,
      health: { status: 'degraded', reasons: ['the disk is nearly full'] },
      connections: 3,
      topics: 1,
      partitions: 8,
      groups: 1,
      draining: false,
      rates: {
        publishedRecords: 0.5,
        publishedBytes: 100,
        fetchedRecords: 0,
        fetchedBytes: 0,
        requests: 2,
        commits: 1,
      },
      log: { liveBytes: 1_000_000, diskBytes: 1_200_000, freeBytes: 80_000_000_000 },
      memory: { residentBytes: 90_000_000, heapBytes: 20_000_000, externalBytes: 5_000_000 },
    },
  },
  metadata: {
    request: { topics: ['orders', 'missing'] },
    reply: {
      brokers: [{ brokerId: 0, host: '127.0.0.1', port: 7420 }],
      topics: [
        { name: 'orders', error: 0, topicId: 7, owners: [0, 0] },
        { name: 'missing', error: 20, message: 'there is no topic "missing"' },
      ],
    },
  },
  topicCreate: {
    request: { topic: 'orders', partitions: 8, settings: { retentionMs: 604_800_000 } },
    reply: summary,
  },
  topicDelete: { request: { topic: 'orders' }, reply: {} },
  topicAlter: { request: { topic: 'orders', partitions: 16 }, reply: { ...summary, partitions: 16 } },
  topicList: { request: {}, reply: { topics: [summary] } },
  topicDescribe: {
    request: { topic: 'orders' },
    reply: {
      topic: summary,
      partitions: [
        { partition: 0, owner: 0, startOffset: 5, endOffset: 4_294_967_296, bytes: 1_000 },
        {
          partition: 1,
          owner: 0,
          startOffset: 0,
          endOffset: 0,
          bytes: 0,
          problem: 'offsets 3 to 4 are lost',
        },
      ],
    },
  },
  offsetsList: {
    request: {
      partitions: [
        [7, 0, -2],
        [7, 1, -1],
        [7, 2, 1_767_225_600_000],
      ],
    },
    reply: {
      partitions: [
        { error: 0, offset: 5 },
        { error: 0, offset: 9 },
        { error: 22, message: 'no such partition' },
      ],
    },
  },
  producerInit: { request: {}, reply: { producerId: 4_294_967_298 } },
  publish: {
    request: {
      batches: [
        [7, 0, 128],
        [7, 1, 96],
      ],
    },
    reply: {
      results: [
        { error: 0, baseOffset: 1_000 },
        { error: 31, message: 'too large' },
      ],
    },
  },
  fetch: {
    request: { waitMs: 500, bytesMin: 1, bytesMax: 4_194_304, partitions: [[7, 0, 1_000, 1_048_576]] },
    reply: {
      partitions: [
        [7, 0, 0, 128, 5, 1_010],
        [7, 1, 40, 0, 5, 9, 'offset 99 is outside of 5 to 9'],
      ],
    },
  },
  groupJoin: {
    request: {
      group: 'billing',
      memberId: uuid,
      instanceId: 'pod-1',
      topics: ['orders'],
      sessionTimeoutMs: 30_000,
    },
    reply: assignment,
  },
  groupHeartbeat: {
    request: { group: 'billing', memberId: uuid, waitMs: 3_000, owned: [[7, 3, 4_294_967_300]] },
    reply: assignment,
  },
  groupLeave: { request: { group: 'billing', memberId: uuid }, reply: {} },
  groupCommit: {
    request: {
      group: 'billing',
      memberId: uuid,
      offsets: [
        [7, 3, 4_294_967_300, 43],
        [7, 4, 4_294_967_301, 9, 'note'],
      ],
    },
    reply: { results: [{ error: 0 }, { error: 52, message: 'the partition has moved' }] },
  },
  groupList: { request: {}, reply: { groups: [{ group: 'billing', members: 2, topics: 1 }] } },
  groupDescribe: {
    request: { group: 'billing' },
    reply: {
      group: 'billing',
      state: 'stable',
      generation: 4_294_967_297,
      members: [
        {
          memberId: uuid,
          clientName: 'app',
          address: '127.0.0.1:50000',
          topics: ['orders'],
          sessionTimeoutMs: 30_000,
          connected: true,
          partitions: 1,
        },
      ],
      partitions: [
        {
          topic: 'orders',
          topicId: 7,
          partition: 3,
          committedOffset: 42,
          committedAtMs: 1_767_225_600_000,
          metadata: 'note',
          startOffset: 0,
          endOffset: 50,
          lag: 8,
          oldestTimestampMs: 1_767_225_500_000,
          memberId: uuid,
        },
      ],
      reasons: ['no member is connected'],
    },
  },
  groupSeek: {
    request: { group: 'billing', topic: 'orders', partitions: [3], kind: 'offset', value: 10 },
    reply: { partitions: [{ partition: 3, offset: 10 }] },
  },
  groupDelete: { request: { group: 'billing' }, reply: {} },
  groupPause: { request: { group: 'billing', paused: true }, reply: {} },
  queueOpen: {
    request: {
      group: 'thumbnails',
      workerId: uuid,
      topics: ['orders'],
      settings: { order: 'key', attemptsMax: 5 },
      start: 'earliest',
      concurrency: 10,
    },
    reply: {
      settings: queueSettings,
      topics: [{ topic: 'orders', topicId: 7, partitions: 8 }],
      deadLetterTopic: 'thumbnails.dead-letters',
    },
  },
  queueLease: {
    request: {
      group: 'thumbnails',
      workerId: uuid,
      messagesMax: 20,
      bytesMax: 1_048_576,
      waitMs: 5_000,
      leaseMs: 30_000,
    },
    reply: { grantId: 4_294_967_301, leaseMs: 30_000, batches: [[7, 3, 250, [40, 2, 45, 1], [0, 0, 2]]] },
  },
  queueSettle: {
    request: {
      group: 'thumbnails',
      entries: [
        { topicId: 7, partition: 3, grantId: 4_294_967_301, outcome: 'ack', offsets: [40, 2] },
        {
          topicId: 7,
          partition: 3,
          grantId: 4_294_967_301,
          outcome: 'fail',
          offsets: [45, 1],
          delayMs: 1_000,
          error: 'no space',
        },
      ],
    },
    reply: { refused: [[1, 45]] },
  },
  queueExtend: {
    request: { group: 'thumbnails', grants: [4_294_967_301], leaseMs: 60_000 },
    reply: { lost: [4_294_967_301] },
  },
  queueLeave: { request: { group: 'thumbnails', workerId: uuid }, reply: {} },
  queueDescribe: {
    request: { group: 'thumbnails' },
    reply: {
      group: 'thumbnails',
      settings: queueSettings,
      deadLetterTopic: 'thumbnails.dead-letters',
      dead: 2,
      workers: [
        {
          workerId: uuid,
          clientName: 'app',
          address: '127.0.0.1:50000',
          concurrency: 10,
          inFlight: 20,
          asking: false,
        },
      ],
      partitions: [
        {
          topic: 'orders',
          topicId: 7,
          partition: 3,
          doneOffset: 40,
          endOffset: 100,
          waiting: 39,
          inFlight: 20,
          delayed: 1,
          oldestTimestampMs: 1_767_225_600_000,
        },
      ],
      reasons: ['no worker is connected'],
    },
  },
  queueConfigure: {
    request: { group: 'thumbnails', settings: { paused: true } },
    reply: queueSettings,
  },
  queueDeadLetters: {
    request: { group: 'thumbnails', fromOffset: 0, limit: 100 },
    reply: {
      letters: [
        {
          offset: 1,
          topic: 'orders',
          partition: 3,
          originOffset: 45,
          attempts: 10,
          reason: 'attempts',
          error: 'no space',
          diedAtMs: 1_767_225_600_000,
        },
      ],
      nextOffset: 2,
    },
  },
  queueRedrive: { request: { group: 'thumbnails', offsets: [1, 1] }, reply: { redriven: 1 } },
  queueDelete: { request: { group: 'thumbnails' }, reply: {} },
  queueList: {
    request: {},
    reply: { groups: [{ group: 'thumbnails', workers: 1, topics: 1, dead: 2 }] },
  },
  transaction: {
    request: {
      id: uuid,
      batches: [[7, 3, 100]],
      acks: [
        {
          group: 'thumbnails',
          entries: [{ topicId: 7, partition: 3, grantId: 4_294_967_301, offsets: [40, 2] }],
        },
      ],
      offsets: [{ group: 'billing', memberId: uuid, offsets: [[7, 3, 4_294_967_300, 42]] }],
    },
    reply: { baseOffsets: [50] },
  },
  publishEach: {
    request: {
      batches: [[7, 0, 128]],
      messages: [
        [0, 'a-1'],
        [1_767_225_600_000, 'a-2'],
        [1_767_225_600_000, null],
      ],
      repeatedAfterMs: 1_500,
    },
    reply: {
      results: [
        [0, 'duplicate', 42, 3],
        [0, 'delayed', -1],
        [8, null, -1, null, 'no room'],
      ],
    },
  },
  delayedCancel: { request: { topic: 'orders', id: 'a-2' }, reply: { cancelled: true } },
  delayedList: {
    request: { topic: 'orders', limit: 10, cursor: 'FgAA' },
    reply: {
      messages: [
        { topic: 'orders', partition: 0, id: 'a-2', dueMs: 1_767_225_600_000 },
        { topic: 'orders', partition: 1, dueMs: 1_767_225_600_001 },
      ],
      cursor: 'FgAB',
      count: 12,
      nextDueMs: 1_767_225_600_000,
    },
  },
  scheduleSet: {
    request: {
      name: 'nightly',
      topic: 'orders',
      partition: 2,
      cron: '30 2 * * *',
      timeZone: 'Europe/Berlin',
      missed: 'all',
    },
    reply: { nextDueMs: 1_767_225_600_000 },
  },
  scheduleDelete: { request: { name: 'nightly' }, reply: {} },
  scheduleList: {
    request: { limit: 10, after: 'hourly' },
    reply: {
      schedules: [
        {
          name: 'nightly',
          topic: 'orders',
          partition: 2,
          cron: '30 2 * * *',
          timeZone: 'Europe/Berlin',
          missed: 'once',
          nextDueMs: 1_767_225_600_000,
          lastDueMs: 1_767_139_200_000,
          firedCount: 5,
          missedCount: 1,
          lastOffset: 41,
        },
      ],
      count: 2,
      more: false,
    },
  },
  topicPurge: {
    request: { topic: 'orders', partitions: [1] },
    reply: { partitions: [{ partition: 1, startOffset: 42, dropped: 40 }] },
  },
  queuePeek: {
    request: { group: 'crew', topic: 'orders', state: 'delayed', limit: 10 },
    reply: {
      messages: [
        {
          topic: 'orders',
          topicId: 7,
          partition: 1,
          offset: 41,
          state: 'delayed',
          attempts: 2,
          dueAtMs: 1_767_225_600_000,
        },
        {
          topic: 'orders',
          topicId: 7,
          partition: 2,
          offset: 3,
          state: 'inFlight',
          attempts: 0,
          workerId: uuid,
        },
      ],
    },
  },
  replySend: { request: { to: uuid, requestId: '1z', error: 'no such item' }, reply: {} },
  replyPoll: {
    request: { address: uuid, waitMs: 30_000, received: 140_737_488_355_327 },
    reply: {
      replies: [
        ['1z', 0, 'no such item'],
        ['20', 12, undefined],
      ],
      number: 140_737_488_355_329,
    },
  },
}
