import { type JetStreamManager, jetstreamManager, RetentionPolicy, StorageType } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { scheduled, workQueue } from '../../nats/kinds.js'

export interface NatsStream {
  readonly connection: NatsConnection
  readonly manager: JetStreamManager
  /** Whether the server has fast ingest. */
  readonly fastIngest: boolean
  /** Removes the stream if it shall, and closes the connection. */
  close(): Promise<void>
}

export function scheduleSubject(topic: string, index: number): string {
  return `${topic}.schedule.${index}`
}

/** Where the messages of all schedules of the stream come. */
export function targetSubject(topic: string): string {
  return `${topic}.due`
}

interface StreamOptions {
  readonly port: number
  readonly topic: string
  /** `workQueue` or `scheduled`; undefined: a stream that keeps everything. */
  readonly topicKind?: string
  readonly removesTopic: boolean
}

/** Connects, and makes the stream whose name, and only subject but for schedules, is the topic unless it is there. */
export async function openStream({
  port,
  topic,
  topicKind,
  removesTopic,
}: StreamOptions): Promise<NatsStream> {
  const connection = await connect({ servers: `127.0.0.1:${port}` })
  const manager = await jetstreamManager(connection)
  const [major = 0, minor = 0] = (connection.info?.version ?? '').split('.').map(Number)
  const fastIngest = major > 2 || (major === 2 && minor >= 14)
  await manager.streams.add({
    name: topic,
    subjects: topicKind === scheduled ? [`${topic}.>`] : [topic],
    ...(topicKind === scheduled ? { allow_msg_schedules: true } : {}),
    storage: StorageType.File,
    ...(topicKind === workQueue ? { retention: RetentionPolicy.Workqueue } : {}),
    ...(fastIngest ? { allow_batched: true } : {}),
  })
  return {
    connection,
    manager,
    fastIngest,
    close: async () => {
      if (removesTopic) await manager.streams.delete(topic)
      await connection.close()
    },
  }
}
