import { testShortCampaign } from '../short_campaign.js'
import { queuesPower } from './queues.js'

testShortCampaign(queuesPower)
