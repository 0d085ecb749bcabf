import { testShortCampaign } from '../short_campaign.js'
import { slowSync } from './slow_sync.js'

testShortCampaign(slowSync)
