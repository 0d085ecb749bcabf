import { clientScript } from '../lib/clients.js'

/** The functions of clients/kafka/topics.ts. */
export interface KafkaTopics {
  /** Creates a topic unless it exists. */
  ensureTopic(port: number, topic: string): Promise<void>
  removeTopic(port: number, topic: string): Promise<void>
}

/** Loads them. @throws Error if the package of the clients is not installed */
export async function kafkaTopics(): Promise<KafkaTopics> {
  return (await import(clientScript('kafka/topics.js').href)) as KafkaTopics
}
