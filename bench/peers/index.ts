import type { Contender, WorkKind } from '../lib/contender.js'
import { bullContenders } from './bullmq/index.js'
import { kafka, kafkaFsync, kafkaJs, kafkaJsFsync } from './kafka/index.js'
import { millraceContender } from './millrace/index.js'
import { natsContenders } from './nats/index.js'
import { pipeContender } from './pipe/index.js'
import { rabbitClassic, rabbitClassicFsync, rabbitQuorum } from './rabbitmq/index.js'
import { redisContenders } from './redis/index.js'

/** All that can be held against each other, in the order in which they take turns. */
export const contenders: readonly Contender[] = [
  pipeContender,
  millraceContender,
  ...redisContenders,
  ...natsContenders,
  rabbitClassic,
  rabbitClassicFsync,
  rabbitQuorum,
  kafka,
  kafkaFsync,
  kafkaJs,
  kafkaJsFsync,
  ...bullContenders,
]

/** Those that can do this kind of work. */
export function contendersFor(kind: WorkKind): readonly Contender[] {
  return contenders.filter(({ kinds }) => kinds.includes(kind))
}
